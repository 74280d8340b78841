"""The servers and the worker that one machine runs, as supervised processes: started in order, mended, and ended whole.

Each is a process group of its own with a log of its own. What was started is remembered in a file, so that another
command, or the next start, can end what a killed supervisor left behind.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from pydantic import BaseModel, TypeAdapter

from cl_core import artifact_dir, processes
from cl_core.errors import InfrastructureError, InputError

# The first start of an empty database takes long on a small machine.
_START_TIMEOUT_S = 180
_POLL_S = 0.25
# A worker tells its runs to stop and waits for them; what is left then is killed.
_STOP_TIMEOUT_S = 20
# A supervisor ends three services, one after the other.
SUPERVISOR_STOP_TIMEOUT_S = 4 * _STOP_TIMEOUT_S
# A service that dies again and again is started again at these distances, the last one for good. Seconds.
_PAUSES_S = (0, 2, 5, 15, 60)


@dataclass(frozen=True)
class Service:
    """One long-lived process.

    Args:
        name: For people.
        command: The program and its arguments. Seen by every user of the machine, so nothing secret is in it.
        environment: All of it; secrets belong here.
        log: File that its output is appended to.
        port: That it listens on; 0 when it listens nowhere.
        health: Address that answers with 200 when it is ready; empty: it is ready when it runs.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    port: int = 0
    health: str = ""


class ServiceRecord(BaseModel):
    """A service that was started, and as which process (`cl_core.processes`)."""

    name: str
    process: str


_REMEMBERED = TypeAdapter(list[ServiceRecord])


class Supervisor:
    """Keeps services running.

    Args:
        services: In the order in which they are started; they are ended in the opposite order.
        record: File that remembers what runs.
        stopped: Whether a person has asked for an end.
    """

    def __init__(self, services: Sequence[Service], record: Path, stopped: Callable[[], bool]) -> None:
        self.services = services
        self.stopped = stopped
        self.restarts = dict.fromkeys((service.name for service in services), 0)
        self._record = record
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}

    def start(self, *services: Service) -> None:
        """Start services side by side, and wait until all are ready.

        Raises:
            InfrastructureError: When one ends instead, or does not answer in time; the message has the end of its log.
            KeyboardInterrupt: When a person asks for an end meanwhile.
        """
        for service in services:
            self._spawn(service)
        deadline = time.monotonic() + _START_TIMEOUT_S
        for service in services:
            while not self._answers(service):
                if self.stopped():
                    raise KeyboardInterrupt
                if not self.is_alive(service):
                    raise InfrastructureError(f"the {service.name} ended while it was starting; {_end_of(service.log)}")
                if time.monotonic() > deadline:
                    raise InfrastructureError(
                        f"the {service.name} did not answer within {_START_TIMEOUT_S} s; {_end_of(service.log)}"
                    )
                time.sleep(_POLL_S)

    def is_alive(self, service: Service) -> bool:
        """Whether the service's process runs."""
        process = self._processes.get(service.name)
        return process is not None and process.poll() is None

    def pid(self, service: Service) -> int:
        """The service's process; 0 before its start."""
        process = self._processes.get(service.name)
        return process.pid if process else 0

    def mend(self) -> list[str]:
        """Start again what has died, at growing distances.

        Returns:
            A sentence for each service that was started again.
        """
        said = []
        for service in self.services:
            if service.name not in self._processes or self.is_alive(service):
                continue
            restarts = self.restarts[service.name]
            if time.monotonic() - self._started[service.name] < _PAUSES_S[min(restarts, len(_PAUSES_S) - 1)]:
                continue
            code = self._processes[service.name].returncode
            # Workers of a server outlive it and keep its port.
            _end_group(self._processes[service.name].pid)
            self._spawn(service)
            self.restarts[service.name] = restarts + 1
            said.append(f"{service.name} ended with {code} and was started again; its log is {service.log}")
        return said

    def stop(self) -> None:
        """End all services, the last one first, with everything that they have started."""
        for service in reversed(self.services):
            process = self._processes.pop(service.name, None)
            if process is not None:
                terminate_tree(process.pid)
                process.wait()
        self._record.unlink(missing_ok=True)

    def _spawn(self, service: Service) -> None:
        service.log.parent.mkdir(parents=True, exist_ok=True)
        with service.log.open("ab") as log:
            self._processes[service.name] = subprocess.Popen(  # noqa: S603 - a command of ours
                list(service.command),
                env=dict(service.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A terminal's Ctrl-C is for the supervisor alone, which ends the services in order.
                start_new_session=True,
            )
        self._started[service.name] = time.monotonic()
        self._remember()

    def _remember(self) -> None:
        running = [ServiceRecord(name=name, process=processes.token(one.pid)) for name, one in self._processes.items()]
        self._record.parent.mkdir(parents=True, exist_ok=True)
        artifact_dir.write_text(self._record, _REMEMBERED.dump_json(running).decode())

    def _answers(self, service: Service) -> bool:
        if not service.health:
            return self.is_alive(service)
        try:
            with urllib.request.urlopen(service.health, timeout=2) as answer:  # noqa: S310 - an address of ours
                return bool(answer.status == 200)
        except OSError:
            return False


def stop_orphaned_services(record: Path) -> list[str]:
    """End what a supervisor has left behind, the last one first.

    Returns:
        The names of those that were still running.
    """
    if not record.exists():
        return []
    left = [one for one in _REMEMBERED.validate_json(record.read_text()) if not processes.is_gone(one.process)]
    for one in reversed(left):
        terminate_tree(processes.pid_of(one.process))
    record.unlink(missing_ok=True)
    return [one.name for one in left]


def check_free(port: int, name: str, host: str) -> None:
    """Refuse a port that something listens on.

    Raises:
        InputError: Naming the process that has it, as far as this user may know it.
    """
    with socket.socket() as listener:
        # As servers do: a connection that is being closed does not keep a port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            listener.bind((host, port))
            return
    raise InputError(
        f"port {port}, on which the {name} should listen, is in use by {_owner(port)}; end that, or choose another port"
    )


def terminate_tree(pid: int, *, timeout_s: float = _STOP_TIMEOUT_S) -> None:
    """Ask a process to end, and kill it and all that it has started if it does not.

    Args:
        pid: Of the process, the leader of its group.
        timeout_s: How long it may take. Seconds.
    """
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        # Listed first: children of a process that has ended belong to nobody.
        family = [process, *process.children(recursive=True)]
        process.terminate()
    processes.wait(family[:1], timeout_s=timeout_s)
    processes.kill(family, timeout_s=_STOP_TIMEOUT_S)
    _end_group(pid)


def _end_group(pid: int) -> None:
    """Kill what is left of a service's process group: its leader was started as one, so the number is its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _owner(port: int) -> str:
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(connection.pid)
                return f"process {process.pid} of {process.username()} ({' '.join(process.cmdline())[:120]})"
    return "a process of another user"


def _end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()[-5:] if log.exists() else []
    return f"the end of its log ({log}): " + (" | ".join(lines) or "nothing")
