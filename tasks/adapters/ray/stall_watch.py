"""Kills the workers of a group that takes no step any more, so that Ray restarts them."""

import contextlib
import logging
import time

import psutil

from cl_core.training.job import TrainingJob
from tasks.adapters.ray.compat import WORKER_NAME

logger = logging.getLogger(__name__)


class StallWatch:
    """Compares the times of what a training writes with the clock, for workers that are children of this process.

    A worker that is stopped, or hangs in a device driver, is alive for Ray; its siblings wait for it in a collective.
    On a cluster elsewhere the timeout of the collectives ends the wait.

    Args:
        job: Whose progress and checkpoints are watched.
        start_s: How much longer the workers may take until they have loaded their state.
    """

    _seen: list[int]

    def __init__(self, job: TrainingJob, *, start_s: float) -> None:
        self._watched = (job.progress.path, job.checkpoints.folder)
        self._timeout_s = job.compute.stall_timeout_s
        self._start_s = start_s
        self.has_begun = False
        """Whether the workers have written anything."""
        self._begin()

    def look(self) -> None:
        """Kill the workers if nothing has been written for too long."""
        now, written = time.monotonic(), self._written()
        if written != self._seen:
            self._seen, self._since, self._allowed_s, self.has_begun = written, now, self._timeout_s, True
        elif now - self._since > self._allowed_s:
            workers = _workers()
            logger.warning(
                "no training step for %.0f s; killed %d workers, which resume from the last checkpoint "
                "(compute.stall_timeout_s is the time that a step may take)",
                now - self._since,
                len(workers),
            )
            for worker in workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()
            self._begin()

    def _begin(self) -> None:
        self._seen, self._since = self._written(), time.monotonic()
        self._allowed_s = self._start_s + self._timeout_s

    def _written(self) -> list[int]:
        return [path.stat().st_mtime_ns if path.exists() else 0 for path in self._watched]


def _workers() -> list[psutil.Process]:
    workers = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if WORKER_NAME in " ".join(child.cmdline()) + child.name():
                workers.append(child)
    return workers
