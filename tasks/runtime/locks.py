"""Locks: one process at a time on this machine retrains a model, runs a training, or changes a registered model.

The system releases the lock of a process that has died. A record of its owner lies beside a held lock.
"""

import contextlib
import os
import socket
import urllib.parse
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout
from pydantic import ValidationError

from cl_core import artifact_dir, processes
from cl_core.refs import Ref
from tasks.runtime.console import echo
from tasks.runtime.settings import Settings

OWNER = ".holder"
"""Suffix of an owner's record."""
_KERNEL_LOCKS = Path("/proc/locks")  # Linux, proc(5).


class OwnerRecord(Ref):
    """A process that holds or owns something."""

    process: str

    @property
    def is_stale(self) -> bool:
        """Whether its process has exited; a process of another host counts as alive."""
        return processes.is_gone(self.process)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return what a file records; None when there is no file, or it cannot be read."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValidationError):
            return None


class LockOwner(OwnerRecord):
    """The process that holds a lock."""

    name: str = ""


def exclusive_model(model_name: str) -> AbstractContextManager[None]:
    """Hold the lock of a model; while another run holds it, wait and name that run.

    Runs of one work queue wait in Prefect already. This lock is for the others: a command on the terminal, or a form
    in which another model's name was filled in.
    """
    name = urllib.parse.quote(model_name, safe="")
    lock = Settings.from_environment().work / "locks" / f"{name}.lock"
    return exclusive(lock, "retrain", f"which retrains {model_name}")


@contextmanager
def exclusive(lock: Path, step: str, waiting_for: str) -> Iterator[None]:
    """Hold a lock; while another run holds it, wait and name that run.

    Args:
        lock: A file; its folder is made.
        step: Name of the step that waits.
        waiting_for: What the other run does: `which ...`.
    """
    # Prefect takes seconds to import, and commands that only look at locks do not need it.
    from prefect.logging import get_run_logger
    from prefect.runtime import flow_run

    held = FileLock(lock)
    try:
        acquire_lock(held, timeout_s=0)
    except Timeout:
        owner = lock_owner(lock)
        message = f"waiting for {owner.name if owner else 'another run'}, {waiting_for}"
        get_run_logger().info(message)
        echo(step, message)
        acquire_lock(held, timeout_s=-1)
    try:
        with recorded_owner(lock, f"flow run {flow_run.name!r}"):
            yield
    finally:
        held.release()


@contextmanager
def recorded_owner(lock: Path, name: str) -> Iterator[None]:
    """Keep a record of this process beside a lock that it holds, under a name for people."""
    record = lock.with_suffix(OWNER)
    artifact_dir.write_text(record, LockOwner(name=name, process=processes.token()).model_dump_json())
    try:
        yield
    finally:
        record.unlink(missing_ok=True)


def acquire_lock(lock: FileLock, *, timeout_s: float) -> None:
    """Acquire a lock; make its folder when it is missing, also when pruning removes it at this moment.

    Raises:
        Timeout: When another process holds it for longer than `timeout_s` seconds; below 0, it waits without end.
    """
    folder = Path(lock.lock_file).parent
    while not lock.is_locked:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=timeout_s)
        except (FileNotFoundError, FileExistsError):
            if folder.exists() and not folder.is_dir():
                raise  # A file is in the way, and waiting will not remove it.


@contextlib.contextmanager
def try_lock(lock: Path) -> Iterator[bool]:
    """Hold a lock for the body if no process holds it; yield whether that is so. Nothing is created."""
    held, free = FileLock(lock), True
    if lock.exists():
        try:
            held.acquire(timeout=0)
        except Timeout:
            free = False
        except FileNotFoundError:
            pass  # Its folder was removed at this moment.
    try:
        yield free
    finally:
        held.release()


def is_locked(lock: Path) -> bool:
    """Return whether a living process holds a lock, without taking it, so that no one waits for the answer.

    Another host's process cannot be looked at: a container may have been replaced, or its machine switched off. The
    file system knows whether the lock is free, and is asked for an instant.
    """
    owner = lock_owner(lock)
    if owner and processes.host_of(owner.process) not in ("", socket.gethostname()):
        with try_lock(lock) as free:
            return not free
    return not owner.is_stale if owner else _is_locked_in_kernel(lock)


def lock_owner(lock: Path) -> LockOwner | None:
    """Return the owner that is recorded beside a lock; None without a record, or with one of version 0.1.0."""
    return LockOwner.read(lock.with_suffix(OWNER))


def _is_locked_in_kernel(lock: Path) -> bool:
    """Return whether the kernel lists a lock on the file: for locks without a record of their owner."""
    try:
        file, listed = lock.stat(), _KERNEL_LOCKS.read_text(encoding="utf-8")
    except OSError:
        return False
    place = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    return any(place in line.split() for line in listed.splitlines())
