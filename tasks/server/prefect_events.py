"""Triggers of Prefect's automations: what happens, or fails to happen, to one flow run."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from prefect.events.schemas.automations import EventTrigger, Posture

_EACH_RUN: dict[str, Any] = {
    "match": {"prefect.resource.id": "prefect.flow-run.*"},
    "for_each": {"prefect.resource.id"},
}


def happened(event: str, *, times: int = 1, within: timedelta = timedelta(0)) -> EventTrigger:
    """Fires when a run has had an event, such as the state `Failed`, so many times."""
    return EventTrigger(**_EACH_RUN, expect={_named(event)}, posture=Posture.Reactive, threshold=times, within=within)


def missed(events: Iterable[str], *, after: str, within: timedelta) -> EventTrigger:
    """Fires when none of the events has followed another in time."""
    return EventTrigger(
        **_EACH_RUN,
        after={_named(after)},
        expect={_named(event) for event in events},
        posture=Posture.Proactive,
        within=within,
    )


def _named(event: str) -> str:
    return f"prefect.flow-run.{event}"
