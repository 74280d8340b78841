"""Lock files: the system releases those of processes that have died, so that only a living one holds a lock."""

import contextlib
import urllib.parse
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from cl_core import artifact_dir
from tasks.runtime.console import echo
from tasks.runtime.settings import Settings


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


HOLDER = ".holder"


def exclusive_model(model_name: str) -> AbstractContextManager[None]:
    """Hold the model's turn; wait for it, and say for whom, while another run has it.

    Runs of one work queue wait in Prefect already. This is for those of others: a command on the terminal, or a form
    in which another model's name was filled in.
    """
    name = urllib.parse.quote(model_name, safe="")
    lock = Settings.from_environment().work / "turns" / f"{name}.lock"
    return exclusive(lock, "retrain", f"which retrains {model_name} at this moment")


@contextmanager
def exclusive(lock: Path, step: str, doing: str) -> Iterator[None]:
    """Hold a lock; wait for it, and say for whom, while another run has it.

    The system releases a lock whose process has died.

    Args:
        lock: A file; its folder is made. Beside it stands who holds it.
        step: That waits.
        doing: What the holder does: `which ...`.
    """
    taken, holder = FileLock(lock), lock.with_suffix(HOLDER)
    try:
        acquire_lock(taken, timeout_s=0)
    except Timeout:
        whom = holder.read_text() if holder.exists() else "another run"
        sentence = f"waits for {whom}, {doing}"
        get_run_logger().info(sentence)
        echo(step, sentence)
        acquire_lock(taken, timeout_s=-1)
    try:
        artifact_dir.write_text(holder, f"flow run {flow_run.name!r}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        taken.release()


def acquire_lock(lock: FileLock, *, timeout_s: float) -> None:
    """Acquire a lock; its folder is made when missing, also when retention takes it away at this moment.

    Raises:
        Timeout: When another process has it for longer; below 0, it is waited for without end.
    """
    folder = Path(lock.lock_file).parent
    while not lock.is_locked:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=timeout_s)
        except (FileNotFoundError, FileExistsError):
            if folder.exists() and not folder.is_dir():
                raise  # What is in the way will not go by itself.
