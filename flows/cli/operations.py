"""The commands that keep a machine at work: servers, worker, schedules."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from filelock import FileLock, Timeout

from cl_core import artifact_dir
from cl_core.errors import InfrastructureError, InputError
from flows.cli.app import app
from tasks.runtime.locks import is_locked
from tasks.runtime.settings import Settings
from tasks.server.services import LOOPBACK, Ports

_NOTE_TIMEOUT_S = 5

Port = Annotated[int, Parameter(help="Port that it listens on.")]


@app.command
def up(
    *,
    deployments: Path = Path("infra/prefect.yaml"),
    prefect_port: Port = 4200,
    mlflow_port: Port = 5000,
    host: str = LOOPBACK,
) -> None:
    """Start Prefect, MLflow and a worker, register the deployments, and keep it all running until Ctrl-C.

    Args:
        deployments: File that declares work pool, deployments and schedules.
        host: Address that the servers listen on; one that other machines reach only with authentication.
    """
    settings = Settings.from_environment()
    with _alone(settings):
        from flows.cli.up import run

        run(settings, Ports(prefect_port, mlflow_port), deployments, host)


@app.command
def down() -> None:
    """End what `cl up` runs for this CL_HOME, and leave no process."""
    from tasks.server.supervisor import SUPERVISOR_STOP_TIMEOUT_S, stop_orphaned_services, terminate_tree

    settings = Settings.from_environment()
    ended = is_locked(settings.up_lock)
    if ended:
        # It ends the services in order, and itself last.
        terminate_tree(_holder(settings), timeout_s=SUPERVISOR_STOP_TIMEOUT_S)
    left = stop_orphaned_services(settings.services)
    if left:
        print(f"Ended {', '.join(left)}, which a `cl up` that was killed had left.")
    elif ended:
        print("`cl up` has ended, with all that it ran.")
    else:
        print("Nothing of `cl up` runs for this CL_HOME.")


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Hold the lock of this home: two supervisors would fight over its servers."""
    settings.work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.up_lock)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"`cl up` runs already for {settings.home}, as process {_holder(settings)}; "
            "`cl down` ends it, and another CL_HOME takes another"
        ) from error
    holder = _note(settings)
    try:
        artifact_dir.write_text(holder, str(os.getpid()))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _note(settings: Settings) -> Path:
    """Says who holds the lock: what is written into a lock file itself, the next who tries it empties."""
    return settings.up_lock.with_suffix(".pid")


def _holder(settings: Settings) -> int:
    """The process of the `cl up` that runs; one that has only just begun has yet to say so."""
    deadline = time.monotonic() + _NOTE_TIMEOUT_S
    while not _note(settings).exists():
        if time.monotonic() > deadline:
            raise InfrastructureError(
                f"a process holds {settings.up_lock} and does not say which it is; end it by hand, and remove the file"
            )
        time.sleep(0.1)
    return int(_note(settings).read_text())
