"""The meter of a step: wall time, CPU time of the process and of those that it starts, and GPU time."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import psutil

# Processes of a worker group start and exit; CPU time after the last look at one is not counted.
_LOOK_EVERY_S = 1.0
_LONGEST_PAUSE_S = 30.0


class Usage(NamedTuple):
    """Resources used since a step began. Seconds."""

    seconds: float
    cpu_seconds: float
    gpu_seconds: float


class Meter:
    """Measures from its creation on. Processes that ran before, such as a server, do not count."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._began, self._began_at = time.monotonic(), time.time()
        self._own, self._reaped = self._times()
        self._seen: dict[tuple[int, float], float] = {}
        self._gpu_seconds = 0.0
        self._held = (0, self._began)

    def usage(self) -> Usage:
        """Return the resources used so far."""
        self.look()
        own, reaped = self._times()
        # Two lower bounds on what the started processes used: the system's sum of those that exited and were waited
        # for, and the sum of what was last seen. The larger one is closer.
        started = max(sum(self._seen.values()), reaped - self._reaped)
        gpus, since = self._held
        held = self._gpu_seconds + gpus * (time.monotonic() - since)
        return Usage(time.monotonic() - self._began, own - self._own + started, held)

    def look(self) -> None:
        """Update the CPU time of the processes that were started in the step."""
        for process in self._process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                started = process.create_time()
                # The system counts the start of a process in hundredths of a second.
                if started >= self._began_at - 0.02:
                    times = process.cpu_times()
                    self._seen[process.pid, started] = times.user + times.system

    @contextlib.contextmanager
    def holding_gpus(self, count: int) -> Iterator[None]:
        """Count the body's wall time once for each GPU."""
        self._held = (count, time.monotonic())
        try:
            yield
        finally:
            self._gpu_seconds += count * (time.monotonic() - self._held[1])
            self._held = (0, self._began)

    @contextlib.contextmanager
    def watching(self, on_heartbeat: Callable[[Usage], None]) -> Iterator[None]:
        """Look every second while the body runs; call back after 1, 2, 4, ... seconds, at least every 30 s.

        So a killed step has logged at least half of the time that it took.
        """
        stop = threading.Event()

        def watch() -> None:
            pause = next_heartbeat = 1.0
            while not stop.wait(_LOOK_EVERY_S):
                self.look()
                if time.monotonic() - self._began >= next_heartbeat:
                    on_heartbeat(self.usage())
                    pause = min(2 * pause, _LONGEST_PAUSE_S)
                    next_heartbeat = time.monotonic() - self._began + pause

        thread = threading.Thread(target=watch, name="meter", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _times(self) -> tuple[float, float]:
        times = self._process.cpu_times()
        return times.user + times.system, times.children_user + times.children_system
