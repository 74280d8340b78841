"""Runs whose process is gone, put back to work where Prefect's own automations would not, or not soon.

A process that dies before its first heartbeat is not missed by anybody once its worker has died, too. And a server that
was started again has forgotten which events it has seen, and holds back what follows one of them, such as the crash of
a run that began before, for a quarter of an hour (`prefect.server.events.ordering`).
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import AwaitingRetry, Cancelled, Crashed

from tasks import leases

_LOOK_EVERY_S = 20
# A worker reports a crash within seconds, and automations put the run back 15 s later; what is left then is not theirs.
_GRACE = timedelta(seconds=45)
# What crashed long ago is no longer waited for by anybody.
_LATELY = timedelta(days=1)


class Reviver:
    """Looks for such runs now and then, while servers and worker run."""

    def __init__(self) -> None:
        self._looked = time.monotonic()
        self._suspects: set[str] = set()

    def look(self) -> list[str]:
        """Close and put back what the worker and automations have left; a sentence for each run.

        While the server is down there are none.
        """
        if time.monotonic() - self._looked < _LOOK_EVERY_S:
            return []
        self._looked = time.monotonic()
        try:
            with get_client(sync_client=True) as client:
                gone = {str(run.id): run for run in _under_way(client) if _is_gone(run)}
                left = [run for run_id, run in gone.items() if run_id in self._suspects]
                self._suspects = set(gone)
                return [*(close(client, run, by="`cl up`") for run in left), *_put_back(client, _GRACE)]
        except httpx.HTTPError:
            return []


def revive_interrupted() -> list[str]:
    """Close and put back the runs whose process ended with the machine, or with the services; before a worker runs.

    Returns:
        A sentence for each run.
    """
    with get_client(sync_client=True) as client:
        closed = [close(client, run, by="`cl up`") for run in _under_way(client, StateType.PENDING) if _is_gone(run)]
        return [*closed, *_put_back(client, timedelta(0))]


def close(client: SyncPrefectClient, run: FlowRun, *, by: str) -> str:
    """Tell Prefect that the process of a run has ended: the run is crashed, or cancelled where that was wanted.

    Args:
        client: Of the server.
        run: As the server believes it to be.
        by: Who has found it, for people.

    Returns:
        A sentence that says so.
    """
    message = f"{by} found that its process has ended."
    state: State[Any] = (Cancelled if run.state_type == StateType.CANCELLING else Crashed)(message=message)
    client.set_flow_run_state(run.id, state, force=True)
    leases.discard(str(run.id))
    return f"run {run.name} is marked as {str(state.name).lower()}: its process has ended"


def _under_way(client: SyncPrefectClient, *others: StateType) -> list[FlowRun]:
    types = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING, *others])
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=types)))


def _is_gone(run: FlowRun) -> bool:
    """Whether the run's process has ended, as its lease tells; one that is pending has none to tell."""
    lease = leases.of(str(run.id))
    return lease.is_stale if lease else run.state_type == StateType.PENDING and run.deployment_id is not None


def _put_back(client: SyncPrefectClient, grace: timedelta) -> Iterator[str]:
    now = datetime.now(UTC)
    crashed = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED])),
        # A command's run has nobody who would start it again.
        deployment_id=FlowRunFilterDeploymentId(is_null_=False),
        end_time=FlowRunFilterEndTime(after_=now - _LATELY),
    )
    for run in client.read_flow_runs(flow_run_filter=crashed):
        if run.state and now - run.state.timestamp >= grace:
            state: State[Any] = AwaitingRetry(message="Its process died; it goes on from the last good point.")
            client.set_flow_run_state(run.id, state)
            yield f"run {run.name} was put back to work: its process had died"
