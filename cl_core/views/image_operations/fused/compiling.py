"""How kernels are compiled: by numba, without the GIL, for one set of types each, and once for each user and machine.

What is compiled is kept in `~/.cache/counterpoint`, or in the folder of `NUMBA_CACHE_DIR`. Numba reads it as pickles,
so the folder is its user's alone.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from cl_core.hashing.code_digest import code_digest

F = TypeVar("F", bound=Callable[..., Any])

logger = logging.getLogger(__name__)

# Sums may be reordered into vector registers, always in the same way: one view is made by one thread. Values are
# finite, since they come from bytes. Division stays exact, and no function is approximated.
_FAST = {"contract", "ninf", "nnan", "nsz", "reassoc"}
_OPTIONS = {"fastmath": _FAST, "error_model": "numpy", "nogil": True}


def inner(function: F) -> F:
    """Compile a function that kernels call, when they are compiled."""
    return cast(F, numba.njit(**_OPTIONS)(function))


def compiled(function: F, *signature: Any) -> F:
    """Return a kernel, compiled for these types alone: others are refused, where numba would compile once more.

    Some seconds, and later half a second, when it is in the cache.
    """
    folder = _own_folder(function.__module__)
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder or "")
    began = time.monotonic()
    try:
        kernel = numba.njit(signature, cache=folder is not None, **_OPTIONS)(function)
    finally:
        numba.config.CACHE_DIR = before
    if not kernel.stats.cache_hits:
        logger.info("compiled the kernel of views in %.0f s; kept in %s", time.monotonic() - began, folder)
    return cast(F, kernel)


def _own_folder(module: str) -> Path | None:
    """Return the folder of the kernels of a module, which only this user can enter; None where there can be none.

    Its name is the digest of their code: numba looks at the file of a function, and not at those that it calls.
    """
    try:
        base = numba.config.CACHE_DIR or Path.home() / ".cache"
        folder = Path(base, "counterpoint", "numba", code_digest(module)[:16])
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (owner := folder.stat().st_uid) != os.geteuid():
            raise PermissionError(f"{folder} belongs to user {owner}")
        folder.chmod(0o700)
    except (OSError, RuntimeError) as error:
        logger.warning("the kernel of views is compiled in each process: its cache cannot be kept (%s)", error)
        return None
    return folder
