"""One process of this machine at a time changes a registered model."""

import contextlib
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from cl_core.errors import InfrastructureError
from tasks.runtime.locks import is_locked, recorded_owner

_TIMEOUT_S = 600


def is_changing(work: Path, name: str) -> bool:
    """Whether a process is changing the model at this moment."""
    return is_locked(_file(work, name))


@contextlib.contextmanager
def held(work: Path, name: str) -> Iterator[None]:
    """Be the only process of this machine that changes the model.

    Args:
        work: Folder of locks; made when missing.
        name: Of the model.

    Raises:
        InfrastructureError: When another process has been at it for ten minutes.
    """
    work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_file(work, name), timeout=_TIMEOUT_S)
    try:
        lock.acquire()
    except Timeout as error:
        raise InfrastructureError(
            f"another process has been changing model {name!r} for {_TIMEOUT_S} s; "
            f"wait for it or end it ({lock.lock_file} is its lock), and run the same command again"
        ) from error
    try:
        with recorded_owner(_file(work, name), f"a process that changes model {name!r}"):
            yield
    finally:
        lock.release()


def _file(work: Path, name: str) -> Path:
    return work / f"{urllib.parse.quote(name, safe='')}.lock"
