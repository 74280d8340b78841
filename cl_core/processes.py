"""Processes: a token that names one, whether that process has exited, how to end it, and the CPUs that it may use."""

import contextlib
import math
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
# Linux, cgroup-v2 and sched-bwc: quota and period of a control group, of version 2 and of version 1.
_CGROUP = Path("/sys/fs/cgroup")
_CPU_QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
_NO_QUOTA = ("max", "-1")
# A token, and whatever follows it. The boot ends it, so that `node` never takes a token of `node-2` for its own.
_TOKEN = re.compile(r"(?P<host>.+?)-(?P<pid>\d+)-(?P<ticks>\d+)b(?P<boot>[0-9a-f]{8})(?:[-.].*)?", re.DOTALL)
# One of version 0.1.0, which names no boot. With more digits behind it, the first could belong to the host's name.
_TOKEN_0_1 = re.compile(r"(?P<host>.+?)-(?P<pid>\d+)-(?P<ticks>\d+)(?!-\d+(?:[-.]|$))(?:[-.].*)?", re.DOTALL)
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
    """Return whether the process of a token has exited.

    Processes of other hosts cannot be seen and count as alive; so does whatever is not a token. What follows a token
    is ignored.
    """
    named = _of_this_host(maker)
    if named is None:
        return False
    return started(int(named["pid"])) != named["ticks"] or named.groupdict().get("boot") not in (None, _boot())


def pid_of(maker: str) -> int:
    """Return the number of a token's process; 0 when it is a process of another host, or not a token."""
    named = _of_this_host(maker)
    return int(named["pid"]) if named else 0


def host_of(maker: str) -> str:
    """Return the host of a token; empty for what is not one."""
    named = _TOKEN.fullmatch(maker) or _TOKEN_0_1.fullmatch(maker)
    return named["host"] if named else ""


def _of_this_host(maker: str) -> re.Match[str] | None:
    named = _TOKEN.fullmatch(maker) or _TOKEN_0_1.fullmatch(maker)
    return named if named and named["host"] == socket.gethostname() else None


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
        fields = Path(f"/proc/{pid or os.getpid()}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[_STATE] in "ZX" else fields[_START_TIME]


@cache
def _boot() -> str:
    """Return the first digits of the id that the kernel chose at this boot."""
    return _BOOT_ID.read_text(encoding="utf-8").replace("-", "")[:_BOOT_DIGITS]


def cpu_count() -> int:
    """Return how many CPUs this process may use, by its affinity and by its container's quota; at least 1.

    Every check and default asks here. A quota is rounded down: of 1.5 CPUs, a second thread would have half of one, and
    the first would wait for it in each step. (`joblib` rounds up.)
    """
    import joblib  # It imports numpy.

    allowed: float = min(joblib.cpu_count(), _cpu_quota())
    return max(1, math.floor(allowed))


def thread_limits() -> dict[str, str]:
    """Return variables for libraries that count CPUs and do not see the quota of a container; empty without a quota.

    OpenMP, BLAS and Arrow read them when they are imported.
    """
    quota = _cpu_quota()
    return {} if quota == math.inf else {"OMP_NUM_THREADS": str(max(1, math.floor(quota)))}


def _cpu_quota() -> float:
    """Return the CPUs that the quota of the container allows, perhaps a fraction; infinity without a quota."""
    for files in _CPU_QUOTAS:
        with contextlib.suppress(OSError, ValueError):
            quota, period = " ".join((_CGROUP / file).read_text(encoding="utf-8") for file in files).split()
            return math.inf if quota in _NO_QUOTA else int(quota) / int(period)
    return math.inf
