"""Processes: a token that names one, whether that process has exited, and how to end it."""

import contextlib
import os
import re
import socket
import time
from collections.abc import Collection
from functools import cache
from pathlib import Path

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux, random(4).
_BOOT_DIGITS = 8
# Of a token after the host, and whatever follows it. Without the boot: a token of version 0.1.0.
_PROCESS = re.compile(r"-(?P<pid>\d+)-(?P<ticks>\d+)(?:b(?P<boot>[0-9a-f]+))?(?:[-.].*)?", re.DOTALL)
_START_TIME, _STATE = 19, 0  # Fields of /proc/PID/stat after the command's name: Linux, proc(5), numbers 22 and 3.


def token(pid: int = 0) -> str:
    """Return HOST-PID-TICKSbBOOT: host, process number, start in clock ticks since the boot, and the boot's id.

    A process number can be used again, and after a reboot also its start ticks.

    Args:
        pid: A living process of this host; 0 is this one.
    """
    pid = pid or os.getpid()
    return f"{socket.gethostname()}-{pid}-{started(pid)}b{_boot()}"


def is_gone(maker: str) -> bool:
    """Return whether the process of a token has exited. Processes of other hosts cannot be seen and count as alive.

    Whatever follows a token's third part is ignored.
    """
    host = socket.gethostname()
    if not maker.startswith(f"{host}-"):
        return False
    process = _PROCESS.fullmatch(maker, len(host))
    if process is None:
        return True
    return started(int(process["pid"])) != process["ticks"] or process["boot"] not in (None, _boot())


def pid_of(maker: str) -> int:
    """Return the number of a token's process; 0 when it is a process of another host."""
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
    """Return when none runs any more, or after the timeout; zombie processes do not count."""
    deadline = time.monotonic() + timeout_s
    while any(_runs(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def started(pid: int = 0) -> str:
    """Return the clock ticks from the boot to the process's start; empty without the process, or for a zombie."""
    try:
        fields = Path(f"/proc/{pid or os.getpid()}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[_STATE] in "ZX" else fields[_START_TIME]


@cache
def _boot() -> str:
    """Return the first digits of the id that the kernel chose at this boot."""
    return _BOOT_ID.read_text().replace("-", "")[:_BOOT_DIGITS]
