"""Prefect automations that recover runs whose process died, and that notify people of failed runs.

A run's process sends a heartbeat every 30 s (PREFECT_FLOWS_HEARTBEAT_FREQUENCY). If only the process was killed, its
worker reports the crash at once; if both are gone, missing heartbeats reveal it.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.server.schemas.states import StateType

from tasks.runtime.notifications import CRASHED, FAILED, flow_run_page, notification_block
from tasks.runtime.process_environment import HEARTBEAT_S
from tasks.server.recovery import RESCHEDULED

_SILENCE = timedelta(seconds=3 * HEARTBEAT_S)
# The worker reports a crash again about 2 s after the runner, which would undo a run rescheduled before that.
_SETTLED = timedelta(seconds=15)
# A run that dies while it starts cannot count its own attempts; each crash is reported twice.
_DEATHS = 20
_DEATHS_WITHIN = timedelta(hours=2)

# A crashed run that is rescheduled resumes within a minute; only one that does not is worth a message.
RESTART_WITHIN_S = 120

_ENDS = ("Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "Paused", "Suspended")


_EACH_RUN: dict[str, Any] = {
    "match": {"prefect.resource.id": "prefect.flow-run.*"},
    "for_each": {"prefect.resource.id"},
}

AUTOMATIONS_0_1 = (
    "counterpoint: notice a run whose process is gone",
    "counterpoint: put a crashed run back to work",
    "counterpoint: give up a run that cannot start",
)
"""Names that 0.1.0 gave; under today's names they would act twice."""


def recovery_automations() -> list[AutomationCore]:
    """Return the automations that recover runs whose process died."""
    return [
        AutomationCore(
            name="counterpoint: mark a run without heartbeats as crashed",
            description="A run that has sent no heartbeat for 90 s is marked as crashed.",
            # No waiting state is among them: a run that dies while it waits must be marked too.
            trigger=_missed(["heartbeat", *_ENDS], after="heartbeat", within=_SILENCE),
            actions=[ChangeFlowRunState(state=StateType.CRASHED, message="The process sent no heartbeat for 90 s.")],
        ),
        AutomationCore(
            name="counterpoint: reschedule a crashed run",
            description="15 s after a crash, the same run is rescheduled and resumes from its last checkpoint.",
            trigger=_missed(["AwaitingRetry", "Running", "Failed", "Cancelled"], after="Crashed", within=_SETTLED),
            actions=[
                ChangeFlowRunState(
                    state=StateType.SCHEDULED,
                    name="AwaitingRetry",
                    message=RESCHEDULED,
                )
            ],
        ),
        AutomationCore(
            name="counterpoint: fail a run that crashes repeatedly",
            description=f"A run that crashed {_DEATHS // 2} times within two hours is marked as failed.",
            trigger=_happened("Crashed", times=_DEATHS, within=_DEATHS_WITHIN),
            actions=[
                ChangeFlowRunState(
                    state=StateType.FAILED,
                    message=f"The process died {_DEATHS // 2} times in two hours; read its log, then retry it by hand.",
                )
            ],
        ),
    ]


def failure_automations(block: str, *, restart_within_s: float = RESTART_WITHIN_S) -> list[AutomationCore]:
    """Return the automations that notify people of failed and crashed runs, killed processes included.

    Args:
        block: Notification block, as TYPE/NAME, such as slack-webhook/team.
        restart_within_s: A crashed run that runs again within this time causes no message. Seconds.

    Raises:
        InputError: When the server has no such block.
    """
    document = notification_block(block)._block_document_id
    assert document is not None
    runs_again, within = ["Running", "Completed", "Failed", "Cancelled"], timedelta(seconds=restart_within_s)
    triggers = {FAILED: _happened("Failed"), CRASHED: _missed(runs_again, after="Crashed", within=within)}
    place = "00000000-0000-0000-0000-000000000000"
    page = flow_run_page(place).replace(place, "{{ flow_run.id }}")
    # Templates that the server fills in.
    subject = "Run {{ flow_run.name }} of {{ flow.name }} has {{ flow_run.state.name | lower }}"
    body = (
        f"{subject}.\n"
        "{% if flow_run.parameters.model_name is defined %}"
        "Model: {{ flow_run.parameters.model_name or flow_run.parameters.data.name }}\n{% endif %}"
        "Reason: {{ flow_run.state.message }}\n"
        f"Run: {page}"
    )
    return [
        AutomationCore(
            name=name,
            description="Sends a message through the block that CL_NOTIFY names.",
            trigger=trigger,
            actions=[SendNotification(block_document_id=document, subject=subject, body=body)],
        )
        for name, trigger in triggers.items()
    ]


def _happened(event: str, *, times: int = 1, within: timedelta = timedelta(0)) -> EventTrigger:
    """Return a trigger that fires when a run has had an event, such as the state `Failed`, a number of times."""
    return EventTrigger(
        **_EACH_RUN, expect={_full_name(event)}, posture=Posture.Reactive, threshold=times, within=within
    )


def _missed(events: Iterable[str], *, after: str, within: timedelta) -> EventTrigger:
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
