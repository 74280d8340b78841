"""What Prefect does by itself when a run's process dies: notice, put the same run back to work, and give up in the end.

A run's process tells the server every 30 s that it lives (PREFECT_FLOWS_HEARTBEAT_FREQUENCY). Where it was killed and
its worker still runs, the worker reports a crash at once; where both are gone, the silence tells.
"""

from datetime import timedelta

from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore
from prefect.server.schemas.states import StateType

from tasks.operation import HEARTBEAT_S
from tasks.run_events import happened, missed

_SILENCE = timedelta(seconds=3 * HEARTBEAT_S)
# The worker reports a crash again about 2 s after the runner; a run that was rescheduled by then would be undone.
_SETTLED = timedelta(seconds=15)
# A run that dies while it starts never comes to count its own attempts (tasks/attempts.py); each death is told twice.
_DEATHS = 20
_DEATHS_WITHIN = timedelta(hours=2)

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
