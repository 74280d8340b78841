"""Triggers of Prefect's automations: an event of a flow run, or a missing one."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from prefect.events.schemas.automations import EventTrigger, Posture

_EACH_RUN: dict[str, Any] = {
    "match": {"prefect.resource.id": "prefect.flow-run.*"},
    "for_each": {"prefect.resource.id"},
}


def happened(event: str, *, times: int = 1, within: timedelta = timedelta(0)) -> EventTrigger:
    """Return a trigger that fires when a run has had an event, such as the state `Failed`, a number of times."""
    return EventTrigger(
        **_EACH_RUN, expect={_full_name(event)}, posture=Posture.Reactive, threshold=times, within=within
    )


def missed(events: Iterable[str], *, after: str, within: timedelta) -> EventTrigger:
    """Return a trigger that fires when none of the events followed another one in time."""
    return EventTrigger(
        **_EACH_RUN,
        after={_full_name(after)},
        expect={_full_name(event) for event in events},
        posture=Posture.Proactive,
        within=within,
    )


def _full_name(event: str) -> str:
    return f"prefect.flow-run.{event}"
