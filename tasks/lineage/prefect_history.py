"""A flow run as the Prefect server remembers it, for one that ran on another machine: its account is there."""

from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterName,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import TaskRun
from prefect.client.schemas.sorting import FlowRunSort, LogSort

from cl_core.errors import InfrastructureError
from cl_core.report.costs import Outcome
from tasks.runtime.run_log import FlowRun, RunRecord, StepAttempt

_OUTCOMES: dict[str, Outcome] = {"COMPLETED": "ran", "FAILED": "failed", "CRASHED": "killed"}
_PREFECTS_OWN = ("Finished in state", "Created task run", "Task run failed", "Beginning")


def run_from_server(run: str) -> RunRecord | None:
    """The newest flow run of that id or name, from the server's task runs and logs; None when there is none.

    Raises:
        InfrastructureError: When the server does not answer.
    """
    try:
        with get_client(sync_client=True) as client:
            return _read(client, run)
    except httpx.HTTPError as error:
        raise InfrastructureError(
            f"there is no account of run {run!r} on this machine, and the Prefect server does not answer "
            f"({type(error).__name__}); correct PREFECT_API_URL, or ask on the machine that ran it"
        ) from error


def _read(client: SyncPrefectClient, run: str) -> RunRecord | None:
    found = client.read_flow_runs(flow_run_filter=_named(run), sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)
    if not found:
        return None
    one = found[0]
    same = FlowRunFilter(id=FlowRunFilterId(any_=[one.id]))
    tasks = client.read_task_runs(flow_run_filter=same)
    logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[one.id])), sort=LogSort.TIMESTAMP_ASC)
    said: dict[UUID | None, list[str]] = {}
    for log in logs:
        if not log.message.startswith(_PREFECTS_OWN):
            said.setdefault(log.task_run_id, []).append(log.message)
    ordered = sorted((task for task in tasks if task.start_time), key=lambda task: str(task.start_time))
    return RunRecord(
        FlowRun(
            id=str(one.id),
            name=one.name,
            flow=client.read_flow(one.flow_id).name,
            parameters=one.parameters,
            began=one.start_time.timestamp() if one.start_time else 0.0,
            state=one.state_name or "",
            message=(one.state.message or "") if one.state else "",
        ),
        [_attempt(task, said.get(task.id, [])) for task in ordered],
    )


def _named(run: str) -> FlowRunFilter:
    try:
        return FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run)]))
    except ValueError:
        return FlowRunFilter(name=FlowRunFilterName(any_=[run]))


def _attempt(task: TaskRun, said: list[str]) -> StepAttempt:
    assert task.start_time is not None
    return StepAttempt(
        step=task.name.rsplit("-", 1)[0],
        began=task.start_time.timestamp(),
        seconds=task.total_run_time.total_seconds(),
        outcome=_OUTCOMES.get(task.state_type.value if task.state_type else "", "running"),
        messages=said,
    )
