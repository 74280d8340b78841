"""Which process made a thing, in a form that can be part of its name; whether that process is gone; and its end."""

import contextlib
import os
import socket
import time
from collections.abc import Collection
from pathlib import Path

import psutil

_START_TIME, _STATE = 19, 0  # Fields of /proc/PID/stat after the command's name: Linux, proc(5), numbers 22 and 3.


def token(pid: int = 0) -> str:
    """HOST-PID-START: the host, the process, and when it started, so that a number used again is not taken for it.

    Args:
        pid: Of a living process of this host; 0 is this one.
    """
    pid = pid or os.getpid()
    return f"{socket.gethostname()}-{pid}-{started(pid)}"


def is_gone(maker: str) -> bool:
    """Whether the process of a token has ended. Those of other hosts cannot be seen, and count as alive.

    Args:
        maker: A token; what follows its third part is not looked at.
    """
    host = f"{socket.gethostname()}-"
    if not maker.startswith(host):
        return False
    pid, _, rest = maker.removeprefix(host).partition("-")
    when = rest.partition("-")[0].partition(".")[0]
    return not pid.isdecimal() or not when or started(int(pid)) != when


def pid_of(maker: str) -> int:
    """The number of a token's process; 0 when it is of another host."""
    host = f"{socket.gethostname()}-"
    pid = maker.removeprefix(host).partition("-")[0]
    return int(pid) if maker.startswith(host) and pid.isdecimal() else 0


def kill(processes: Collection[psutil.Process], *, timeout_s: float) -> None:
    """SIGKILL, which ends stopped processes too, and wait until none runs."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait(processes, timeout_s=timeout_s)


def wait(processes: Collection[psutil.Process], *, timeout_s: float) -> None:
    """Return once none runs, or the time is over; ashes that no parent clears do not count."""
    deadline = time.monotonic() + timeout_s
    while any(_runs(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def started(pid: int = 0) -> str:
    """Clock ticks from the host's start to the process's; empty when there is no such process, or only its ashes."""
    try:
        fields = Path(f"/proc/{pid or os.getpid()}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[_STATE] in "ZX" else fields[_START_TIME]
