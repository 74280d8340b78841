"""What Prefect does by itself when a run's process dies: notice, put the same run back to work, and give up in the end.

A run's process tells the server every 30 s that it lives (PREFECT_FLOWS_HEARTBEAT_FREQUENCY). Where it was killed and
its worker still runs, the worker reports a crash at once; where both are gone, the silence tells.
"""

from datetime import timedelta

from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore
from prefect.server.schemas.states import StateType

from tasks.runtime.notifications import CRASHED, FAILED, flow_run_page, notification_block
from tasks.server.prefect_events import happened, missed
from tasks.server.services import HEARTBEAT_S

_SILENCE = timedelta(seconds=3 * HEARTBEAT_S)
# The worker reports a crash again about 2 s after the runner; a run that was rescheduled by then would be undone.
_SETTLED = timedelta(seconds=15)
# A run that dies while it starts never comes to count its own attempts (tasks/runtime/step.py);
# each death is told twice.
_DEATHS = 20
_DEATHS_WITHIN = timedelta(hours=2)

# A crashed run that something starts again goes on within a minute; only one that does not is worth a message.
RESTART_WITHIN_S = 120

_ENDS = ("Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "Paused", "Suspended")


def automations() -> list[AutomationCore]:
    """The automations that keep runs going."""
    return [
        AutomationCore(
            name="counterpoint: notice a run whose process is gone",
            description="A run that has sent no heartbeat for 90 s is marked as crashed.",
            # No state that a run waits in: one that dies while it waits must be noticed too.
            trigger=missed(["heartbeat", *_ENDS], after="heartbeat", within=_SILENCE),
            actions=[ChangeFlowRunState(state=StateType.CRASHED, message="Its process sent no heartbeat for 90 s.")],
        ),
        AutomationCore(
            name="counterpoint: put a crashed run back to work",
            description="The same run goes on from the last good point, 15 s after a crash.",
            trigger=missed(["AwaitingRetry", "Running", "Failed", "Cancelled"], after="Crashed", within=_SETTLED),
            actions=[
                ChangeFlowRunState(
                    state=StateType.SCHEDULED,
                    name="AwaitingRetry",
                    message="Its process died; it goes on from the last good point.",
                )
            ],
        ),
        AutomationCore(
            name="counterpoint: give up a run that cannot start",
            description=f"A run that died {_DEATHS // 2} times within two hours has failed.",
            trigger=happened("Crashed", times=_DEATHS, within=_DEATHS_WITHIN),
            actions=[
                ChangeFlowRunState(
                    state=StateType.FAILED,
                    message=f"Its process died {_DEATHS // 2} times within two hours; read its log, and retry by hand.",
                )
            ],
        ),
    ]


def failure_automations(block: str, *, restart_within_s: float = RESTART_WITHIN_S) -> list[AutomationCore]:
    """Automations with which a server tells of runs that failed or crashed, those whose process was killed included.

    Args:
        block: Notification block, as TYPE/NAME, such as slack-webhook/team.
        restart_within_s: How long a crashed run may take until it runs again before it is told of. Seconds.

    Raises:
        InputError: When the server has no such block.
    """
    document = notification_block(block)._block_document_id
    assert document is not None
    triggers = {
        FAILED: happened("Failed"),
        CRASHED: missed(
            ["Running", "Completed", "Failed", "Cancelled"],
            after="Crashed",
            within=timedelta(seconds=restart_within_s),
        ),
    }
    return [
        AutomationCore(
            name=name,
            description="A message through the block that CL_NOTIFY names.",
            trigger=trigger,
            actions=[SendNotification(block_document_id=document, subject=_SUBJECT, body=_body())],
        )
        for name, trigger in triggers.items()
    ]


_SUBJECT = "Run {{ flow_run.name }} of {{ flow.name }} has {{ flow_run.state.name | lower }}"


def _body() -> str:
    """Of an automation's message, a template that the server fills in."""
    place = "00000000-0000-0000-0000-000000000000"
    page = flow_run_page(place).replace(place, "{{ flow_run.id }}")
    return (
        f"{_SUBJECT}.\n"
        "{% if flow_run.parameters.model_name %}Model: {{ flow_run.parameters.model_name }}\n{% endif %}"
        "Reason: {{ flow_run.state.message }}\n"
        f"Run: {page}"
    )
