"""A flow run from the Prefect server, for a run of another machine, which has its run log."""

from typing import Any
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, LogFilter
from prefect.client.schemas.objects import TaskRun
from prefect.client.schemas.sorting import FlowRunSort, LogSort

from cl_core.errors import InfrastructureError
from cl_core.report.costs import Outcome, StepAttempt
from tasks.lineage.compat import ENGINE_MESSAGES
from tasks.runtime.run_log import FlowRun

_OUTCOMES: dict[str, Outcome] = {"COMPLETED": "ran", "FAILED": "failed", "CRASHED": "killed"}


def run_from_server(run: str) -> FlowRun | None:
    """Return the newest flow run of that id or name, from the server's task runs and logs; None without one.

    Raises:
        InfrastructureError: When the server does not answer.
    """
    try:
        with get_client(sync_client=True) as client:
            return _read(client, run)
    except httpx.HTTPError as error:
        raise InfrastructureError(
            f"this machine has no log of run {run!r}, and the Prefect server does not answer "
            f"({type(error).__name__}); correct PREFECT_API_URL, or run the command on the machine of the run"
        ) from error


def _read(client: SyncPrefectClient, run: str) -> FlowRun | None:
    try:
        condition: dict[str, Any] = {"id": {"any_": [UUID(run)]}}
    except ValueError:
        condition = {"name": {"any_": [run]}}
    which = FlowRunFilter.model_validate(condition)
    runs = client.read_flow_runs(flow_run_filter=which, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)
    if not runs:
        return None
    flow_run = runs[0]
    this = {"any_": [flow_run.id]}
    tasks = client.read_task_runs(flow_run_filter=FlowRunFilter.model_validate({"id": this}))
    logs = client.read_logs(LogFilter.model_validate({"flow_run_id": this}), sort=LogSort.TIMESTAMP_ASC)
    messages: dict[UUID | None, list[str]] = {}
    for log in logs:
        if not log.message.startswith(ENGINE_MESSAGES):
            messages.setdefault(log.task_run_id, []).append(log.message)
    ordered = sorted((task for task in tasks if task.start_time), key=lambda task: str(task.start_time))
    return FlowRun(
        id=str(flow_run.id),
        name=flow_run.name,
        flow=client.read_flow(flow_run.flow_id).name,
        parameters=flow_run.parameters,
        began=flow_run.start_time.timestamp() if flow_run.start_time else 0.0,
        state=flow_run.state_name or "",
        message=(flow_run.state.message or "") if flow_run.state else "",
        attempts=[_attempt(task, messages.get(task.id, [])) for task in ordered],
    )


def _attempt(task: TaskRun, messages: list[str]) -> StepAttempt:
    assert task.start_time is not None
    return StepAttempt(
        step=task.name.rsplit("-", 1)[0],
        began=task.start_time.timestamp(),
        seconds=task.total_run_time.total_seconds(),
        outcome=_OUTCOMES.get(task.state_type.value if task.state_type else "", "running"),
        messages=messages,
    )
