"""Supervised services of one machine: started in order, restarted when they exit, stopped with all their processes.

Each is a process group of its own with a log of its own. The processes are recorded in a file, so that another command,
or the next start, can stop the services of a supervisor that was killed.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
from pydantic import BaseModel, TypeAdapter, ValidationError

from cl_core import artifact_dir, processes
from cl_core.errors import InfrastructureError, InputError

# The first start of an empty database takes long on a small machine.
_START_TIMEOUT_S = 180
_POLL_S = 0.25
_HEALTH_TIMEOUT_S = 2
# A worker stops its runs and waits for them; afterwards the rest is killed.
_STOP_TIMEOUT_S = 20
# A supervisor stops three services, one after the other.
SUPERVISOR_STOP_TIMEOUT_S = 4 * _STOP_TIMEOUT_S
# Least times between the starts of a service that exits repeatedly; the last one is used from then on. Seconds.
_RESTART_PAUSES_S = (0, 2, 5, 15, 60)


@dataclass(frozen=True)
class Service:
    """One long-lived process.

    Args:
        name: For people.
        command: The program and its arguments. Every user of the machine can see them: no secrets.
        environment: Its whole environment; secrets belong here.
        log: File that its output is appended to.
        port: That it listens on; 0 without one.
        health: Address that answers with 200 when it is ready; empty: it is ready once it runs.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    port: int = 0
    health: str = ""


class Supervisor:
    """Keeps services running.

    Args:
        services: In the order of their start; they are stopped in the opposite order.
        record: File that records the running services.
        stopped: Whether a person has asked to stop.
    """

    def __init__(self, services: Sequence[Service], record: Path, stopped: Callable[[], bool]) -> None:
        self.services = services
        self.stopped = stopped
        self.restarts = dict.fromkeys((service.name for service in services), 0)
        self._record = record
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}

    def start(self, *services: Service) -> None:
        """Start services in parallel, and wait until all are ready.

        Raises:
            InfrastructureError: When one exits, or does not answer in time; the message has the end of its log.
            KeyboardInterrupt: When a person asks to stop meanwhile.
        """
        for service in services:
            self._spawn(service)
        deadline = time.monotonic() + _START_TIMEOUT_S
        for service in services:
            while not self._answers(service):
                if self.stopped():
                    raise KeyboardInterrupt
                if not self.is_alive(service):
                    raise InfrastructureError(f"the {service.name} exited during its start; {_end_of(service.log)}")
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
        """Return the service's process ID; 0 before its start."""
        process = self._processes.get(service.name)
        return process.pid if process else 0

    def restart_exited(self) -> list[str]:
        """Restart the services that have exited, after growing pauses.

        Returns:
            A sentence for each service that was restarted.
        """
        messages = []
        for service in self.services:
            if service.name not in self._processes or self.is_alive(service):
                continue
            pause = _RESTART_PAUSES_S[min(self.restarts[service.name], len(_RESTART_PAUSES_S) - 1)]
            if time.monotonic() - self._started[service.name] < pause:
                continue
            code = self._processes[service.name].returncode
            # Worker processes of a server outlive it and hold its port.
            _kill_group(self._processes[service.name].pid)
            self._spawn(service)
            self.restarts[service.name] += 1
            messages.append(f"restarted the {service.name}, which exited with {code}; its log is {service.log}")
        return messages

    def stop(self) -> None:
        """Stop all services, the last one first, with all their child processes."""
        for service in reversed(self.services):
            process = self._processes.pop(service.name, None)
            if process is not None:
                terminate_tree(process.pid)
                process.wait()
        self._record.unlink(missing_ok=True)

    def _spawn(self, service: Service) -> None:
        service.log.parent.mkdir(parents=True, exist_ok=True)
        with service.log.open("ab") as log:
            self._processes[service.name] = subprocess.Popen(  # noqa: S603 - our own command
                list(service.command),
                env=dict(service.environment),
                # Not the working folder, which uvicorn and Prefect put on the import path.
                cwd=service.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal reaches the supervisor alone, which stops the services in order.
                start_new_session=True,
            )
        self._started[service.name] = time.monotonic()
        self._write_record()

    def _write_record(self) -> None:
        running = [{"name": name, "process": processes.token(one.pid)} for name, one in self._processes.items()]
        self._record.parent.mkdir(parents=True, exist_ok=True)
        artifact_dir.write_text(self._record, json.dumps(running))

    def _answers(self, service: Service) -> bool:
        if not service.health:
            return self.is_alive(service)
        try:
            # An address of this machine: no proxy, and no file of certificates to read for each probe.
            answer = httpx.get(service.health, timeout=_HEALTH_TIMEOUT_S, trust_env=False, verify=False)  # noqa: S501
            return answer.status_code == HTTPStatus.OK
        except httpx.HTTPError:
            return False


class _Recorded(BaseModel):
    """A service in the record."""

    name: str
    process: str  # Its token.


_RECORD = TypeAdapter(list[_Recorded])


class Orphans(NamedTuple):
    """Services that a killed supervisor had left running."""

    stopped: list[str]  # Names.
    elsewhere: list[str]  # Names and hosts of those that cannot be stopped from here.


def stop_orphaned_services(record: Path) -> Orphans:
    """Stop the services of a supervisor that was killed, the last one first, and remove their record.

    Those of another host, such as a container that was replaced over the same CL_HOME, are only named.

    Raises:
        InputError: When the record cannot be read; it stays.
    """
    if not record.exists():
        return Orphans([], [])
    try:
        services = _RECORD.validate_json(record.read_bytes())
    except ValidationError as error:
        raise InputError(
            f"{record} should list the services of a killed `cl up`, and cannot be read: "
            f"{error.errors()[0]['msg']}; stop services that still run, remove the file, and run the command again"
        ) from error
    stopped, elsewhere = [], []
    for service in reversed(services):
        pid = processes.pid_of(service.process)
        if processes.is_gone(service.process):
            continue
        if pid > 1:
            terminate_tree(pid)
            stopped.append(service.name)
        else:
            elsewhere.append(f"{service.name} of {processes.host_of(service.process) or 'an unknown host'}")
    record.unlink(missing_ok=True)
    return Orphans(stopped[::-1], elsewhere[::-1])


def terminate_tree(pid: int, *, timeout_s: float = _STOP_TIMEOUT_S) -> None:
    """Terminate the leader of a process group; after a timeout kill it, and in any case its child processes.

    Nothing happens to process 0 or 1, which no service is: a signal to group 0 would reach the caller's own group.
    """
    if pid <= 1:
        return
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        # Listed first: the children of a process that has exited get another parent.
        family = [process, *process.children(recursive=True)]
        process.terminate()
    processes.wait(family[:1], timeout_s=timeout_s)
    processes.kill(family, timeout_s=_STOP_TIMEOUT_S)
    _kill_group(pid)


def _kill_group(pid: int) -> None:
    """Kill the rest of a service's process group, whose number is that of its leader."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:] if log.exists() else []
    return f"the end of its log ({log}): " + (" | ".join(lines) or "nothing")
