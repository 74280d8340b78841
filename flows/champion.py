"""Moves of the champion by a person: up, and back."""

from prefect import flow

from cl_core.refs import Decision
from flows.parameters import ModelName, Reason, Version
from tasks.champion_moves import promote_by_hand, roll_back
from tasks.runtime.hooks import FLOW


@flow(name="promote", **FLOW)
def promote(model_name: ModelName, version: Version, reason: Reason = "no reason given") -> Decision:
    """Make a version the champion, whatever the gate said."""
    return promote_by_hand(model_name, version, reason)


@flow(name="rollback", **FLOW)
def rollback(model_name: ModelName, reason: Reason = "no reason given") -> Decision:
    """Make the version before the champion again."""
    return roll_back(model_name, reason)
