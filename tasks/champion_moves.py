"""Moves of the champion by hand, as tasks."""

from collections.abc import Callable

from cl_core.refs import Decision
from tasks.adapters.mlflow.model_store import ModelStore, model_store
from tasks.runtime.artifacts import publish_decision
from tasks.runtime.notifications import notify_decision
from tasks.runtime.step import first_seen, log_outcome, step


@step("promote by hand")
def promote_by_hand(model_name: str, version: int, reason: str) -> Decision:
    """Make a version the champion, whatever the gate said."""
    return _move(model_name, lambda store: store.promote(model_name, version, reason))


@step("roll back")
def roll_back(model_name: str, reason: str) -> Decision:
    """Make the version before the champion again."""
    return _move(model_name, lambda store: store.rollback(model_name, reason))


def _move(model_name: str, move: Callable[[ModelStore], Decision]) -> Decision:
    store = model_store()
    before = champion_before(store, model_name)
    decision = move(store)
    log_outcome(decision.reason)
    publish_decision(decision)
    notify_decision(decision, before=before)
    return decision


def champion_before(store: ModelStore, model_name: str) -> int:
    """The champion's version when this step was first begun, 0 for none: an earlier attempt may have moved it."""
    standing = store.champion(model_name)
    return first_seen("champion", standing.version if standing else 0)
