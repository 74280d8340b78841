"""Lock files: the system releases those of processes that have died, so that only a living one holds a lock."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def try_lock(lock: Path) -> Iterator[bool]:
    """Have a lock for the body if no process has it; says whether that is so. Nothing is created.

    Args:
        lock: A file; where there is none, nobody can be at work.
    """
    if not lock.exists():
        yield True
        return
    taken = FileLock(lock)
    try:
        taken.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except FileNotFoundError:
        yield True  # Its folder has been removed at this moment.
        return
    try:
        yield True
    finally:
        taken.release()


def is_locked(lock: Path) -> bool:
    """Whether a living process holds a lock."""
    with try_lock(lock) as free:
        return not free
