"""Ctrl-C during a training: the first one lets it end by itself, with a checkpoint."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from cl_core import artifact_dir


@contextlib.contextmanager
def first_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Yield whether Ctrl-C was pressed in the body, which stops by itself; a second Ctrl-C interrupts it at once.

    Where Ctrl-C is ignored, as in a job that a shell started in the background, it stays ignored.
    """
    pressed, before = threading.Event(), signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is signal.SIG_IGN:
        yield pressed.is_set
        return

    def note(*_: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


class StopFiles:
    """Ask worker 0 of a group, on whatever machine it runs, to end with a checkpoint.

    Args:
        folder: Folder of the training, which all workers see.
    """

    def __init__(self, folder: Path) -> None:
        self._request, self._answer = folder / "stop-request", folder / "stop-answer"

    @contextlib.contextmanager
    def none_left(self) -> Iterator[None]:
        """Remove what a killed run has left before the body, and both files after it."""
        self._remove()
        try:
            yield
        finally:
            self._remove()

    def request(self) -> None:
        """Ask; asking twice is asking once."""
        if not self.is_requested():
            artifact_dir.write_text(self._request, "")

    def is_requested(self) -> bool:
        """Return whether the worker shall stop."""
        return self._request.exists()

    def answer(self, message: str) -> None:
        """Say, in worker 0, that it has stopped, and what is kept."""
        artifact_dir.write_text(self._answer, message)

    def answered(self) -> str | None:
        """Return what worker 0 has said; None before."""
        return self._answer.read_text(encoding="utf-8") if self._answer.exists() else None

    def _remove(self) -> None:
        self._request.unlink(missing_ok=True)
        self._answer.unlink(missing_ok=True)
