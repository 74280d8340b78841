"""How kernels are compiled: by numba, without the GIL, for one set of types each, and once for each user and machine.

What is compiled is kept in `~/.cache/counterpoint`, or in the folder of `NUMBA_CACHE_DIR`. Numba reads it as pickles,
so the folder is its user's alone.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, cast

from cl_core.hashing.code_digest import code_digest

F = TypeVar("F", bound=Callable[..., Any])

logger = logging.getLogger(__name__)

# Sums of floats may be reordered into vector registers, always in the same way: one view is made by one thread. Values
# are finite, since they come from bytes. Division stays exact, and no function is approximated.
_FAST = {"contract", "ninf", "nnan", "nsz", "reassoc"}
_OPTIONS = {"fastmath": _FAST, "error_model": "numpy", "nogil": True}


def why_not_compiled() -> str:
    """Return why no kernel can be compiled here; empty where one can. Everything works without numba, but slower."""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        return f"numba cannot be imported ({error})"
    return ""


def has_triton() -> bool:
    """Return whether kernels for GPUs can be compiled: torch brings Triton where it has been built for one."""
    return find_spec("triton") is not None


def inner(function: F) -> F:
    """Compile a function that kernels call, when they are compiled."""
    import numba

    return cast(F, numba.njit(**_OPTIONS)(function))


def compiled(function: F, *signature: Any) -> F:
    """Return a kernel, compiled for these types alone: others are refused, where numba would compile once more.

    Some seconds, and later half a second, when it is in the cache.
    """
    import numba

    began = time.monotonic()
    try:
        with _own_folder(function.__module__) as folder:
            kernel = numba.njit(signature, cache=True, **_OPTIONS)(function)
            if not kernel.stats.cache_hits:
                logger.info("compiled a kernel in %.0f s; kept in %s", time.monotonic() - began, folder)
    except (OSError, RuntimeError) as error:  # No home, or a full disk.
        logger.warning("a kernel is compiled in each process, since it cannot be kept: %s", error)
        kernel = numba.njit(signature, **_OPTIONS)(function)
    return cast(F, kernel)


@contextmanager
def _own_folder(module: str) -> Iterator[Path]:
    """Let numba keep the kernels of a module in a folder that only this user can enter.

    Its name is the digest of their code: numba looks at the file of a function, and not at those that it calls.
    """
    import numba

    before = numba.config.CACHE_DIR
    folder = Path(before or Path.home() / ".cache", "counterpoint", "numba", code_digest(module)[:16])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (owner := folder.stat().st_uid) != os.geteuid():
        raise PermissionError(f"{folder} belongs to user {owner}")
    folder.chmod(0o700)
    numba.config.CACHE_DIR = str(folder)
    try:
        yield folder
    finally:
        numba.config.CACHE_DIR = before
