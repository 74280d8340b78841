"""Move the champion by hand: promote a version, or roll back to the one before."""

from prefect import flow

import tasks.registration
from cl_core.refs import Decision
from flows.parameters import ModelName, Reason, Version
from tasks.runtime.hooks import FLOW


@flow(name="promote", **FLOW)
def promote(model_name: ModelName, version: Version, *, reason: Reason = "no reason given") -> Decision:
    """Make a version the champion, whatever the gate decided."""
    return tasks.registration.promote_by_hand(model_name, version, reason)


@flow(name="rollback", **FLOW)
def rollback(model_name: ModelName, *, reason: Reason = "no reason given") -> Decision:
    """Make the previous champion the champion again."""
    return tasks.registration.roll_back(model_name, reason)
