"""Prefect automations that recover runs whose process died, and that notify people of failed runs.

A run's process sends a heartbeat every 30 s (PREFECT_FLOWS_HEARTBEAT_FREQUENCY). If only the process was killed, its
worker reports the crash at once; if both are gone, missing heartbeats reveal it.
"""

from datetime import timedelta

from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore
from prefect.server.schemas.states import StateType

from tasks.runtime.notifications import CRASHED, FAILED, flow_run_page, notification_block
from tasks.server.prefect_events import happened, missed
from tasks.server.services import HEARTBEAT_S

_SILENCE = timedelta(seconds=3 * HEARTBEAT_S)
# The worker reports a crash again about 2 s after the runner, which would undo a run rescheduled before that.
_SETTLED = timedelta(seconds=15)
# A run that dies while it starts cannot count its own attempts; each crash is reported twice.
_DEATHS = 20
_DEATHS_WITHIN = timedelta(hours=2)

# A crashed run that is rescheduled resumes within a minute; only one that does not is worth a message.
RESTART_WITHIN_S = 120

_ENDS = ("Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "Paused", "Suspended")


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
            trigger=missed(["heartbeat", *_ENDS], after="heartbeat", within=_SILENCE),
            actions=[ChangeFlowRunState(state=StateType.CRASHED, message="The process sent no heartbeat for 90 s.")],
        ),
        AutomationCore(
            name="counterpoint: reschedule a crashed run",
            description="15 s after a crash, the same run is rescheduled and resumes from its last checkpoint.",
            trigger=missed(["AwaitingRetry", "Running", "Failed", "Cancelled"], after="Crashed", within=_SETTLED),
            actions=[
                ChangeFlowRunState(
                    state=StateType.SCHEDULED,
                    name="AwaitingRetry",
                    message="The process died; the run is rescheduled and resumes from its last checkpoint.",
                )
            ],
        ),
        AutomationCore(
            name="counterpoint: fail a run that crashes repeatedly",
            description=f"A run that crashed {_DEATHS // 2} times within two hours is marked as failed.",
            trigger=happened("Crashed", times=_DEATHS, within=_DEATHS_WITHIN),
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
    triggers = {FAILED: happened("Failed"), CRASHED: missed(runs_again, after="Crashed", within=within)}
    place = "00000000-0000-0000-0000-000000000000"
    page = flow_run_page(place).replace(place, "{{ flow_run.id }}")
    # Templates that the server fills in.
    subject = "Run {{ flow_run.name }} of {{ flow.name }} has {{ flow_run.state.name | lower }}"
    body = (
        f"{subject}.\n"
        "{% if flow_run.parameters.model_name %}Model: {{ flow_run.parameters.model_name }}\n{% endif %}"
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
