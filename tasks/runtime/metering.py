"""The meter of a step: wall time, CPU time of the process and of those that it starts, and GPU time.

Prefect has the wall time of a task that ended; of a killed one, and of processes and GPUs, it has nothing.
"""

import contextlib
import operator
import threading
import time
from collections.abc import Callable, Iterator

import psutil

# Processes of a worker group start and exit; CPU time after the last look at one is not counted.
_LOOK_EVERY_S = 1.0
_LONGEST_PAUSE_S = 30.0


class Meter:
    """Measures from its creation on. Processes that ran before, such as a server, do not count."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._began, self._cpu_before = time.monotonic(), self._process.cpu_times()
        # Told apart as processes, not by their times: the system gives the time of its start in whole seconds, so that
        # a process can seem to be up to a second older than it is.
        self._before = set(self._process.children(recursive=True))
        self._started: dict[psutil.Process, float] = {}
        self.hold_gpus(0)

    def hold_gpus(self, count: int) -> None:
        """Count the time from now on once for each GPU."""
        self._gpus, self._held_since = count, time.monotonic()

    def usage(self) -> dict[str, float]:
        """Return `seconds`, `cpu_seconds` and `gpu_seconds` so far."""
        for process in set(self._process.children(recursive=True)) - self._before:
            with contextlib.suppress(psutil.Error):
                self._started[process] = sum(process.cpu_times()[:2])
        user, system, *reaped = map(operator.sub, self._process.cpu_times()[:4], self._cpu_before)
        # Two lower bounds on what the started processes used: the system's sum of those that exited and were waited
        # for, and the sum of what was last seen. The larger one is closer.
        started = max(sum(self._started.values()), sum(reaped))
        now = time.monotonic()
        return {
            "seconds": now - self._began,
            "cpu_seconds": user + system + started,
            "gpu_seconds": self._gpus * (now - self._held_since),
        }

    @contextlib.contextmanager
    def watching(self, on_heartbeat: Callable[..., None]) -> Iterator[None]:
        """Look every second while the body runs; pass on the usage after 1, 2, 4, ... seconds, at least every 30 s.

        So a killed step has logged at least half of the time that it took.
        """
        stop = threading.Event()

        def watch() -> None:
            next_heartbeat = 1.0
            while not stop.wait(_LOOK_EVERY_S):
                usage = self.usage()
                if usage["seconds"] >= next_heartbeat:
                    on_heartbeat(**usage)
                    next_heartbeat = usage["seconds"] + min(usage["seconds"], _LONGEST_PAUSE_S)

        thread = threading.Thread(target=watch, name="meter", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
