"""What a step costs: wall time, CPU time of the process and of those it starts, and time that GPUs are held."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import psutil

# Processes of a worker group come and go; what one does after the last look at it is not counted.
_LOOK_EVERY_S = 1.0
_LONGEST_SILENCE_S = 30.0


class Usage(NamedTuple):
    """What has been used since a step began. Seconds."""

    seconds: float
    cpu_seconds: float
    gpu_seconds: float


class Meter:
    """Measures from its making on. A server that ran before the step is not part of it."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._began, self._began_at = time.monotonic(), time.time()
        self._own, self._reaped = self._times()
        self._seen: dict[tuple[int, float], float] = {}
        self._gpu_seconds = 0.0
        self._held = (0, self._began)

    def usage(self) -> Usage:
        """What has been used so far."""
        self.look()
        own, reaped = self._times()
        # Two lower bounds on what the started processes used: as the system adds up those that ended and were waited
        # for, and as they were last seen. The larger one is nearer.
        started = max(sum(self._seen.values()), reaped - self._reaped)
        gpus, since = self._held
        held = self._gpu_seconds + gpus * (time.monotonic() - since)
        return Usage(time.monotonic() - self._began, own - self._own + started, held)

    def look(self) -> None:
        """Note what the processes that were started in the step have used."""
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
    def watching(self, on_sign_of_life: Callable[[Usage], None]) -> Iterator[None]:
        """Look every second while the body runs; call back after 1, 2, 4, ... seconds, at least every 30 s.

        So a killed step has left behind at least half of the time that it took, whatever that was.
        """
        stop = threading.Event()

        def watch() -> None:
            silence = next_sign = 1.0
            while not stop.wait(_LOOK_EVERY_S):
                self.look()
                if time.monotonic() - self._began >= next_sign:
                    on_sign_of_life(self.usage())
                    silence = min(2 * silence, _LONGEST_SILENCE_S)
                    next_sign = time.monotonic() - self._began + silence

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
