"""The commands that keep a machine at work: servers, worker, schedules."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from filelock import FileLock, Timeout

from cl_core.errors import InputError
from flows.app import app
from tasks.operation import LOOPBACK, Ports
from tasks.settings import Settings

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
        from flows.startup import run

        run(settings, Ports(prefect_port, mlflow_port), deployments, host)


@app.command
def down() -> None:
    """End what `cl up` runs for this CL_HOME, and leave no process."""
    from tasks.services import end_tree, stop_remembered

    settings = Settings.from_environment()
    lock = FileLock(_lock(settings))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        # It ends the services in order, and itself last.
        end_tree(_holder(settings))
    else:
        lock.release()
    left = stop_remembered(settings.work / "services.json")
    print(f"Ended {', '.join(left)}." if left else "Nothing of `cl up` runs for this CL_HOME any more.")


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Hold the lock of this home: two supervisors would fight over its servers."""
    settings.work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_lock(settings))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"`cl up` runs already for {settings.home}, as process {_holder(settings)}; "
            "`cl down` ends it, and another CL_HOME takes another"
        ) from error
    try:
        _lock(settings).with_suffix(".pid").write_text(str(os.getpid()))
        yield
    finally:
        _lock(settings).with_suffix(".pid").unlink(missing_ok=True)
        lock.release()


def _lock(settings: Settings) -> Path:
    return settings.work / "up.lock"


def _holder(settings: Settings) -> int:
    return int(_lock(settings).with_suffix(".pid").read_text())
