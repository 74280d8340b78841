"""A training's folder: what stands in it beside checkpoints and progress, and who may change it."""

from contextlib import AbstractContextManager
from pathlib import Path

from tasks.runtime.locks import try_lock

RESULT = "checkpoint.json"
MADE_FROM = "made-from.json"
"""Names the snapshot, from the start: a run that fails leaves no result that would."""
LOCK = "lock"


def free_training(folder: Path) -> AbstractContextManager[bool]:
    """Have a training to oneself if no process has it; says whether that is so. Nothing is created."""
    return try_lock(folder / LOCK)
