"""What Prefect and MLflow believe, compared with what runs and stands on this machine."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound

from cl_core.errors import StoreUnreachableError
from tasks.adapters.mlflow.connection import redacted_uri
from tasks.adapters.mlflow.model_store import model_store
from tasks.adapters.mlflow.registry_checks import check_registry
from tasks.runtime import run_owner
from tasks.runtime.inventory import Diagnosis
from tasks.runtime.locks import is_locked
from tasks.runtime.run_owner import RunOwner
from tasks.runtime.settings import Settings
from tasks.server.diagnostics import orphaned_files
from tasks.server.recovery import mark_ended
from tasks.server.supervisor import stop_orphaned_services

# A process that has just told Prefect how its run ended needs a moment to end itself.
_GRACE_S = 60


def diagnose() -> list[Diagnosis]:
    """Everything that is wrong under CL_HOME, at Prefect and at MLflow; what belongs to living processes is not."""
    settings = Settings.from_environment()
    return [*_services(settings), *_flow_runs(), *orphaned_files(settings), *_models()]


def _services(settings: Settings) -> Iterator[Diagnosis]:
    if settings.services.exists() and not is_locked(settings.up_lock):
        yield Diagnosis(
            "`cl up` has ended without ending its services",
            str(settings.services),
            "ends those that still run; `cl up` starts them again",
            partial(_stop, settings),
        )


def _stop(settings: Settings) -> None:
    stop_orphaned_services(settings.services)


def _flow_runs() -> Iterator[Diagnosis]:
    try:
        with get_client(sync_client=True) as client:
            client.hello()  # Whether it is there matters without any lease, too.
            for lease in run_owner.run_owners():
                yield from _compare(lease, _read(client, lease.flow_run_id))
    except httpx.TransportError as error:
        address = os.environ.get("PREFECT_API_URL", "its temporary server")
        yield Diagnosis(
            f"Prefect does not answer ({type(error).__name__}), so its runs are not compared",
            address,
            "start it (`cl up`), or correct PREFECT_API_URL",
        )


def _read(client: SyncPrefectClient, run_id: str) -> FlowRun | None:
    try:
        return client.read_flow_run(UUID(run_id))
    except ObjectNotFound:
        return None


def _compare(lease: RunOwner, run: FlowRun | None) -> Iterator[Diagnosis]:
    """What is wrong between a note of a process and what Prefect says of the run."""
    where = f"flow run {lease.flow_run_name} ({lease.flow}, {lease.flow_run_id})"
    state = run.state if run else None
    if lease.is_stale and run and run.state_type in (StateType.RUNNING, StateType.CANCELLING):
        yield Diagnosis(
            f"Prefect believes that it runs; its process {lease.process} has ended",
            where,
            _how_marked(run),
            partial(_mark_ended, run, lease),
        )
    elif lease.is_stale and (state is None or state.is_final()):
        yield Diagnosis(
            f"its process {lease.process} has ended and left a note of itself",
            where,
            "removes the note",
            partial(run_owner.forget_owner, lease.flow_run_id),
        )
    elif not lease.is_stale and state is not None and state.is_final() and _age_s(state.timestamp) > _GRACE_S:
        yield Diagnosis(
            f"its process {lease.process} runs; for Prefect the run is {state.name}",
            where,
            "ends the process, which might write beside another",
            partial(_end, lease),
        )


def _how_marked(run: FlowRun) -> str:
    if run.state_type == StateType.CANCELLING:
        return "marks it as cancelled"
    after = "Prefect puts it back to work" if run.deployment_id else "run its command again to go on"
    return f"marks it as crashed; {after}"


def _age_s(moment: datetime) -> float:
    return (datetime.now(UTC) - moment).total_seconds()


def _mark_ended(run: FlowRun, lease: RunOwner) -> None:
    with get_client(sync_client=True) as client:
        mark_ended(client, run, lease, by="`cl doctor`")


def _end(lease: RunOwner) -> None:
    run_owner.terminate_owner(lease)
    run_owner.forget_owner(lease.flow_run_id)


def _models() -> list[Diagnosis]:
    store = model_store()
    try:
        return check_registry(store)
    except StoreUnreachableError as error:
        return [Diagnosis(f"MLflow is not compared: {error}", redacted_uri(store.tracking_uri), "start it (`cl up`)")]
