"""Compares the state in Prefect and MLflow with the processes and files on this machine, and repairs differences."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound

from cl_core import artifact_dir
from cl_core.errors import InputError, StoreUnreachableError
from tasks.adapters.mlflow.connection import redacted_uri
from tasks.adapters.mlflow.model_store import model_store
from tasks.adapters.mlflow.registry_checks import check_registry
from tasks.adapters.ray import cluster_folder
from tasks.runtime import run_owner
from tasks.runtime.inventory import Diagnosis
from tasks.runtime.locks import OWNER, is_locked, lock_owner
from tasks.runtime.run_owner import RunOwner
from tasks.runtime.settings import Settings
from tasks.server.moved_home import diagnose_locations
from tasks.server.recovery import mark_ended
from tasks.server.supervisor import stop_orphaned_services

# A process needs a moment to exit after it has reported the end of its run.
_GRACE = timedelta(seconds=60)


def diagnose() -> list[Diagnosis]:
    """Return everything that is wrong under CL_HOME, in Prefect and in MLflow; living processes' files are not."""
    settings = Settings.from_environment()
    return [*_services(settings), *_flow_runs(), *orphaned_files(settings), *_models(settings)]


def orphaned_files(settings: Settings) -> list[Diagnosis]:
    """Return the files under CL_HOME, and Ray clusters of its trainings, that processes left which have exited."""
    return [*_incomplete_files(settings), *_holder_files(settings), *_ray_clusters(settings)]


def lock_files(settings: Settings) -> list[Path]:
    """Return the lock files of trainings and of models."""
    models = [lock for lock in settings.work.glob("*.lock") if lock != settings.up_lock]
    return [*settings.trainings.glob("*/lock"), *models, *settings.work.glob("locks/*.lock")]


def _services(settings: Settings) -> Iterator[Diagnosis]:
    if settings.services.exists() and not is_locked(settings.up_lock):
        yield Diagnosis(
            "`cl up` has exited without stopping its services",
            str(settings.services),
            "stops those that still run; `cl up` starts them again",
            partial(stop_orphaned_services, settings.services),
        )


def _flow_runs() -> Iterator[Diagnosis]:
    try:
        with get_client(sync_client=True) as client:
            client.hello()  # An unreachable server is reported even when no run has an owner.
            for owner in run_owner.run_owners():
                yield from _compare(owner, _read(client, owner.flow_run_id))
    except httpx.TransportError as error:
        address = Settings.from_environment().prefect_api_url or "its temporary server"
        yield Diagnosis(
            f"Prefect does not answer ({type(error).__name__}); flow runs were not checked",
            address,
            "start it (`cl up`), or correct PREFECT_API_URL",
        )


def _read(client: SyncPrefectClient, run_id: str) -> FlowRun | None:
    try:
        return client.read_flow_run(UUID(run_id))
    except ObjectNotFound:
        return None


def _compare(owner: RunOwner, run: FlowRun | None) -> Iterator[Diagnosis]:
    """Give the difference between the recorded owner of a run and the run's state in Prefect."""
    where = f"flow run {owner.flow_run_name} ({owner.flow}, {owner.flow_run_id})"
    state = run.state if run else None
    if owner.is_stale and run and state and run.state_type in (StateType.RUNNING, StateType.CANCELLING):
        after = "Prefect reschedules it" if run.deployment_id else "run its command again to resume"
        is_cancelled = run.state_type == StateType.CANCELLING
        yield Diagnosis(
            f"Prefect reports {state.name}, but process {owner.process} has exited",
            where,
            "marks the run as cancelled" if is_cancelled else f"marks the run as crashed; {after}",
            partial(_mark_ended, run, owner),
        )
    elif owner.is_stale and (state is None or state.is_final()):
        yield Diagnosis(
            f"process {owner.process} has exited and left its owner file",
            where,
            "removes the file",
            partial(run_owner.forget_owner, owner.flow_run_id),
        )
    elif not owner.is_stale and state is not None and state.is_final() and datetime.now(UTC) - state.timestamp > _GRACE:
        yield Diagnosis(
            f"Prefect reports {state.name}, but process {owner.process} is running",
            where,
            "kills the process, which could write to the files of another run",
            partial(_kill, owner),
        )


def _mark_ended(run: FlowRun, owner: RunOwner) -> None:
    with get_client(sync_client=True) as client:
        mark_ended(client, run, owner, by="`cl doctor`")


def _kill(owner: RunOwner) -> None:
    run_owner.terminate_owner(owner)
    run_owner.forget_owner(owner.flow_run_id)


def _models(settings: Settings) -> list[Diagnosis]:
    store, locations = model_store(), list(diagnose_locations(settings))
    try:
        return [*locations, *check_registry(store)]
    except StoreUnreachableError as error:
        unchecked = f"MLflow was not checked: {error}"
        return [*locations, Diagnosis(unchecked, redacted_uri(store.tracking_uri), "start it (`cl up`)")]
    except InputError:
        if not locations:
            raise
        return locations  # The registry can be read once they are right.


def _incomplete_files(settings: Settings) -> Iterator[Diagnosis]:
    artifacts = (settings.datasets, settings.caches, settings.trainings, settings.embeddings, settings.evaluations)
    for folder in (*artifacts, settings.reports, settings.work, settings.backups):
        for path in artifact_dir.orphaned(folder):
            yield Diagnosis(
                "incomplete: the process that wrote it has exited", str(path), "removes it", partial(_remove, path)
            )


def _holder_files(settings: Settings) -> Iterator[Diagnosis]:
    for lock in lock_files(settings):
        record = lock.with_suffix(OWNER)
        if record.exists() and not is_locked(lock):
            owner = lock_owner(lock)
            name = owner.name if owner else record.read_text(encoding="utf-8")
            yield Diagnosis(
                f"{name} is recorded as the holder of a lock that no process holds",
                str(record),
                "removes the record",
                partial(record.unlink, missing_ok=True),
            )


def _ray_clusters(settings: Settings) -> Iterator[Diagnosis]:
    for folder in cluster_folder.abandoned_folders():
        if not cluster_folder.is_for(folder, settings.home):
            continue
        processes = cluster_folder.processes_of(folder)
        running = f"; {len(processes)} processes of the cluster are running" if processes else ""
        yield Diagnosis(
            f"the process that started this Ray cluster has exited{running}",
            str(folder),
            "kills the processes and removes the folder",
            partial(cluster_folder.remove_abandoned, folder),
        )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
