"""A training's folder: what stands in it beside checkpoints and progress, and who may change it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

RESULT = "checkpoint.json"
MADE_FROM = "made-from.json"
"""Names the snapshot, from the start: a run that fails leaves no result that would."""
LOCK = "lock"


@contextlib.contextmanager
def free_training(folder: Path) -> Iterator[bool]:
    """Have a training to oneself if no process has it; says whether that is so. Nothing is created."""
    lock = FileLock(folder / LOCK)
    if not (folder / LOCK).exists():
        yield True
        return
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    except FileNotFoundError:
        yield True
        return
    try:
        yield True
    finally:
        lock.release()
