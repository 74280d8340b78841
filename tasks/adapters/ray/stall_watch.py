"""Notices that a group of workers takes no step any more, and ends its workers, so that Ray starts them again."""

import contextlib
import logging
import time

import psutil

from cl_core.training.job import TrainingJob

logger = logging.getLogger(__name__)

# How Ray names the processes that train.
_WORKER = "RayTrainWorker"


class StallWatch:
    """Compares what a training writes with the clock, for workers that are children of this process.

    A worker that is stopped, or hangs in a driver, is alive for Ray; its siblings wait for it in a collective. On a
    cluster elsewhere the collectives' own limit ends that.

    Args:
        job: Whose progress and checkpoints are the signs of life.
        start_s: How long the workers may take until they have loaded their state, over and above.
    """

    def __init__(self, job: TrainingJob, *, start_s: float) -> None:
        self._signs = (job.progress.path, job.checkpoints.folder)
        self._timeout_s = job.compute.stall_timeout_s
        self._start_s = start_s
        self._seen: list[int] = []
        self._since, self._allowed_s = 0.0, 0.0
        self._begin()

    def look(self) -> None:
        """End the workers if nothing has been written for too long."""
        now, written = time.monotonic(), self._written()
        if written != self._seen:
            self._seen, self._since, self._allowed_s = written, now, self._timeout_s
        elif now - self._since > self._allowed_s:
            workers = _workers()
            logger.warning(
                "no training step for %.0f s; %d workers are ended, and go on from the last checkpoint "
                "(compute.stall_timeout_s is how long a step may take)",
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
        return [sign.stat().st_mtime_ns if sign.exists() else 0 for sign in self._signs]


def _workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if _WORKER in " ".join(child.cmdline()) + child.name():
                found.append(child)
    return found
