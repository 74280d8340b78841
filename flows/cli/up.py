"""`cl up`, from nothing to a machine that works by itself, and back."""

import os
import signal
import time
from pathlib import Path

from rich.console import Console

from flows.cli.dashboard import watch
from flows.deployments.schema import Declaration
from tasks.runtime.settings import Settings
from tasks.server import postgres
from tasks.server.services import LocalStack, Ports
from tasks.server.supervisor import Supervisor, check_free, stop_orphaned_services


def run(settings: Settings, ports: Ports, deployments: Path, host: str) -> None:
    """Start everything, register what is declared, and supervise until Ctrl-C or SIGTERM.

    Raises:
        InputError: When the declaration is wrong or a port is in use; nothing has been started then.
        InfrastructureError: When a service does not start.
    """
    console, began = Console(highlight=False, markup=False, soft_wrap=True), time.monotonic()
    stop = _StopRequest()
    declaration = Declaration.read(deployments)
    operation = LocalStack(settings, ports, declaration.work_pool, host, os.environ.get("CL_DATABASE_URL", ""))
    for name in stop_orphaned_services(settings.services):
        console.print(f"ended the {name} that an earlier start had left")
    supervisor = Supervisor(operation.services(), settings.services, stop)
    *servers, worker = supervisor.services
    for server in servers:
        check_free(server.port, server.name, operation.host)
    if operation.database_url:
        postgres.prepare_database(operation.database_url)
    os.environ.update(operation.client_env())
    # Prefect reads its settings when it is imported.
    from flows.deployments.apply import plan, register
    from tasks.server.recovery import RunRecovery

    planned = plan(declaration, deployments.parent)
    try:
        console.print(f"starting the {' and the '.join(server.name for server in servers)} ...")
        supervisor.start(*servers)
        console.print(f"registering what {deployments} declares ...")
        registered = register(declaration.work_pool, planned)
        reviver = RunRecovery(declaration.work_pool)
        for sentence in reviver.recover_at_start():
            console.print(sentence)
        supervisor.start(worker)
        console.print(f"ready after {time.monotonic() - began:.0f} s\n")
        watch(operation, supervisor, reviver, registered)
    except KeyboardInterrupt:
        pass  # What was being started is ended below.
    finally:
        console.print("ending the services ...")
        supervisor.stop()


class _StopRequest:
    """Whether Ctrl-C or SIGTERM has come. A second one changes nothing: while services end, none may be left behind."""

    def __init__(self) -> None:
        self._came = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._hear)

    def __call__(self) -> bool:
        return self._came

    def _hear(self, number: int, frame: object) -> None:
        self._came = True
