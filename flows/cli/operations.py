"""The commands that keep a machine at work: start and stop its servers, and repair what killed processes left."""

import json
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, Field
from rich.console import Console

from cl_core import artifact_dir, processes
from cl_core.errors import InfrastructureError, InputError
from tasks.runtime.console import echo
from tasks.runtime.inventory import Diagnosis
from tasks.runtime.locks import acquire_lock, is_locked, lock_owner, recorded_owner
from tasks.runtime.process_environment import keep_loopback_direct, set_variables
from tasks.runtime.settings import Settings
from tasks.server.services import LOOPBACK, Ports

_PID_TIMEOUT_S = 5


class Stopped(BaseModel):
    """The result of `cl down`."""

    supervisor: bool = Field(description="Whether a `cl up` ran, and was stopped with its services.")
    orphans: list[str] = Field(description="Services stopped that a killed `cl up` had left running.")
    elsewhere: list[str] = Field(description="Services of another host, which cannot be stopped from here.")


class DoctorReport(BaseModel):
    """The result of `cl doctor`."""

    found: list[Diagnosis] = Field(description="Problems found before anything was fixed.")
    fixed: list[Diagnosis] = Field(description="Problems that `--fix` repaired.")
    problems: list[Diagnosis] = Field(description="Problems that remain.")


def up(
    *,
    deployments: Path = Path("infra/prefect.yaml"),
    prefect_port: int = 4200,
    mlflow_port: int = 5000,
    host: str = LOOPBACK,
) -> None:
    """Start Prefect, MLflow and a worker, apply the deployments, and run until Ctrl-C.

    Args:
        deployments: File that declares the work pool, deployments and schedules.
        prefect_port: Port of the Prefect server.
        mlflow_port: Port of the MLflow server.
        host: Address that the servers listen on; any but this machine's own requires authentication.
    """
    settings = Settings.from_environment()
    settings.make_home()
    with _supervisor_lock(settings):
        _run_stack(settings, Ports(prefect_port, mlflow_port), deployments, host)


def down() -> Stopped:
    """Stop what `cl up` started for this CL_HOME."""
    from flows.cli.environment import check_home
    from tasks.server.supervisor import SUPERVISOR_STOP_TIMEOUT_S, stop_orphaned_services, terminate_tree

    settings = Settings.from_environment()
    running = is_locked(settings.up_lock)
    if running:
        # It stops the services in order, and itself last.
        terminate_tree(_supervisor_pid(settings), timeout_s=SUPERVISOR_STOP_TIMEOUT_S)
    orphans = stop_orphaned_services(settings.services)
    try:
        check_home()
    except InputError as moved:
        echo("down", f"warning: {moved}")
    return Stopped(supervisor=running, orphans=orphans.stopped, elsewhere=orphans.elsewhere)


def doctor(*, fix: bool = False) -> DoctorReport:
    """Compare the state in Prefect and MLflow with the processes and files on this machine.

    Args:
        fix: Repair what needs no decision by a person.
    """
    from flows.cli.environment import check_prefect_address, start_prefect

    check_prefect_address()
    start_prefect()
    # Prefect reads its settings when it is imported.
    from tasks.server.diagnostics import diagnose

    diagnoses = diagnose()
    fixed = [diagnosis for diagnosis in diagnoses if fix and diagnosis.repair]
    for diagnosis in fixed:
        assert diagnosis.repair is not None
        diagnosis.repair()
    return DoctorReport(found=diagnoses, fixed=fixed, problems=diagnose() if fix and diagnoses else diagnoses)


def _run_stack(settings: Settings, ports: Ports, deployments: Path, host: str) -> None:
    """Start everything, apply what is declared, and supervise until Ctrl-C or SIGTERM.

    Raises:
        InputError: When the declaration is wrong or a port is in use; nothing has been started then.
        InfrastructureError: When a service does not start.
    """
    from flows.cli.dashboard import watch
    from flows.deployments.schema import Declaration
    from tasks.server import postgres
    from tasks.server.access import check_free
    from tasks.server.moved_home import check_served_home
    from tasks.server.services import LocalStack
    from tasks.server.supervisor import Supervisor, stop_orphaned_services

    console, began = Console(stderr=True, highlight=False, markup=False, soft_wrap=True), time.monotonic()
    # A second Ctrl-C or SIGTERM changes nothing: while services stop, none may be left.
    came: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: came.append(number))
    declaration = Declaration.read(deployments)
    keep_loopback_direct()
    stack = LocalStack(settings, ports, declaration.work_pool, host)
    orphans = stop_orphaned_services(settings.services)
    for name in orphans.stopped:
        console.print(f"stopped the {name} that a killed `cl up` had left running")
    for name in orphans.elsewhere:
        console.print(f"a killed `cl up` recorded the {name}; it cannot be stopped from here")
    supervisor = Supervisor(stack.services(), settings.services, lambda: bool(came))
    *servers, worker = supervisor.services
    for server in servers:
        check_free(server.port, server.name, stack.host)
    if settings.database_url:
        postgres.prepare_database(settings.database_url)
    check_served_home(settings)
    set_variables(stack.client_env())
    # Prefect reads its settings when it is imported.
    from flows.deployments.apply import apply_deployments, plan_deployments
    from tasks.server.automation_check import wait_for_automations
    from tasks.server.recovery import RunRecovery

    planned = plan_deployments(declaration, deployments.parent)
    try:
        console.print(f"starting the {' and the '.join(server.name for server in servers)} ...")
        supervisor.start(*servers)
        artifact_dir.write_text(settings.addresses, json.dumps(stack.addresses))
        console.print(f"applying the deployments of {deployments} ...")
        applied = apply_deployments(declaration.work_pool, planned, source=str(deployments))
        recovery = RunRecovery(declaration.work_pool)
        for message in (*applied.messages, *recovery.recover_at_start()):
            console.print(message)
        supervisor.start(worker)
        wait_for_automations(supervisor.stopped)
        console.print(f"ready after {time.monotonic() - began:.0f} s\n")
        watch(stack, supervisor, recovery, applied.names)
    except KeyboardInterrupt:
        pass  # What was being started is stopped below.
    finally:
        console.print("stopping the services ...")
        settings.addresses.unlink(missing_ok=True)
        supervisor.stop()


@contextmanager
def _supervisor_lock(settings: Settings) -> Iterator[None]:
    """Hold the lock of this home: two supervisors would fight over its servers."""
    lock = FileLock(settings.up_lock)
    try:
        acquire_lock(lock, timeout_s=0)
    except Timeout as error:
        raise InputError(
            f"`cl up` already runs for {settings.home}, as process {_supervisor_pid(settings)}; "
            "stop it with `cl down`, or set another CL_HOME"
        ) from error
    try:
        with recorded_owner(settings.up_lock, "`cl up`"):
            yield
    finally:
        lock.release()


def _supervisor_pid(settings: Settings) -> int:
    """Return the process of the `cl up` that runs; one that has only just begun has yet to write it."""
    deadline = time.monotonic() + _PID_TIMEOUT_S
    while (owner := lock_owner(settings.up_lock)) is None or owner.is_stale:
        if time.monotonic() > deadline:
            raise InfrastructureError(
                f"a process holds {settings.up_lock} without having written its process id; find it with `fuser "
                f"{shlex.quote(str(settings.up_lock))}`, end it, and try again"
            )
        time.sleep(0.1)
    pid = processes.pid_of(owner.process)
    if pid <= 1:
        where = "as the first process of this container" if pid else f"on {processes.host_of(owner.process)}"
        raise InputError(f"`cl up` runs {where}; stop it there")
    return pid
