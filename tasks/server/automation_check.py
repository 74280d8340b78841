"""Whether the Prefect server's events, triggers and automations run: its health does not tell."""

import time
from collections.abc import Callable
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.events import DoNothing, Event, EventTrigger
from prefect.events.schemas.automations import AutomationCore, Posture

from cl_core.errors import InfrastructureError

_EVENT = "counterpoint.started"
_NAME = "counterpoint: check that automations run"
_EXECUTED = "prefect.automation.action.executed"
# Prefect stores events every few seconds; a small machine that has just started its servers is slow.
_TIMEOUT_S = 120
_SENT_EVERY_S = 5
_POLL_S = 0.5


def wait_for_automations(stopped: Callable[[], bool], *, timeout_s: float = _TIMEOUT_S) -> None:
    """Return once an event has triggered an automation, and its action, which does nothing, has been executed.

    Args:
        stopped: Whether a person has asked to stop.
        timeout_s: How long it may take. Seconds.

    Raises:
        InfrastructureError: When that does not happen in time: crashed runs would stay crashed.
        KeyboardInterrupt: When a person asks to stop meanwhile.
    """
    with get_client(sync_client=True) as client:
        for orphan in client.read_automations_by_name(_NAME):
            client.delete_automation(orphan.id)
        automation = client.create_automation(_automation())
        try:
            _wait(client, automation, stopped, timeout_s)
        finally:
            client.delete_automation(automation)


def _automation() -> AutomationCore:
    trigger = EventTrigger(expect={_EVENT}, posture=Posture.Reactive, threshold=1)
    return AutomationCore(name=_NAME, description="`cl up` removes it.", trigger=trigger, actions=[DoNothing()])


def _wait(client: SyncPrefectClient, automation: UUID, stopped: Callable[[], bool], timeout_s: float) -> None:
    began, sent = time.monotonic(), 0.0
    while not _executed(client, automation):
        if stopped():
            raise KeyboardInterrupt
        now = time.monotonic()
        if now - began > timeout_s:
            raise InfrastructureError(
                f"the Prefect server answers, but has executed no automation within {timeout_s:.0f} s, so that crashed "
                "runs would not be rescheduled; its log says why"
            )
        # The trigger may not have been loaded when the first one came.
        if now - sent > _SENT_EVERY_S:
            event = Event(event=_EVENT, resource={"prefect.resource.id": _EVENT})
            client.request("POST", "/events", json=[event.model_dump(mode="json")])
            sent = now
        time.sleep(_POLL_S)


def _executed(client: SyncPrefectClient, automation: UUID) -> bool:
    executed = {"event": {"name": [_EXECUTED]}, "any_resource": {"id": [f"prefect.automation.{automation}"]}}
    answer = client.request("POST", "/events/filter", json={"filter": executed})
    return bool(answer.json()["events"])
