"""Watch a training's progress from outside while it runs."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from cl_core.training.progress import Progress, ProgressLog

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def following(log: ProgressLog, on_progress: Callable[[Progress], None], *, every_s: float = 1.0) -> Iterator[None]:
    """Call back with the newest progress while the body runs, and once more at its end.

    A callback that fails is logged and never stops the training it watches.

    Args:
        log: What the training appends to.
        on_progress: Called on a thread of its own with the newest line, when there is a new one.
        every_s: Time between two looks, in seconds.
    """
    stop = threading.Event()
    seen = len(log.read())

    def look() -> None:
        nonlocal seen
        lines = log.read()
        # Fewer lines than before: the training went on from an earlier checkpoint.
        if lines and len(lines) != seen:
            try:
                on_progress(_with_last_score(lines))
            except Exception as error:
                logger.warning("progress could not be shown: %s", error)
        seen = len(lines)

    def watch() -> None:
        while not stop.wait(every_s):
            look()

    thread = threading.Thread(target=watch, name="follow-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        look()


def _with_last_score(lines: list[Progress]) -> Progress:
    """The newest line, with the newest score of neighbours, which few lines have."""
    scores = [line.knn_accuracy for line in lines if line.knn_accuracy is not None]
    return lines[-1].model_copy(update={"knn_accuracy": scores[-1]}) if scores else lines[-1]
