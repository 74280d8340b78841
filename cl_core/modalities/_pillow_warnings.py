"""Pillow's warnings while images are decoded, by several threads at once."""

import threading
import warnings
from types import TracebackType

from PIL import Image


class PillowWarnings:
    """Ignores warnings while any thread is inside, and makes the one on too many pixels an error.

    Pillow remarks on odd but readable files; only its remark on size decides anything. The filters are the whole
    process's: the first thread that comes sets them, and the last one that leaves restores those that were before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._filters.__exit__(kind, error, at)


PILLOW_WARNINGS = PillowWarnings()
