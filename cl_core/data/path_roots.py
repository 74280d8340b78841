"""Confine paths that come in as parameters to the folders of CL_DATA_ROOTS, which is read here and nowhere else.

Whoever may start a run chooses its parameters, and could name any file that the server's user may read. With the
setting, a path must lie in one of its folders, or in CL_HOME, after all symbolic links are followed. Without it every
path is allowed: a person at a terminal can read those files anyway.
"""

import os
from pathlib import Path

from cl_core.errors import InputError

SETTING = "CL_DATA_ROOTS"


def allowed_roots() -> list[Path] | None:
    """Return the folders that paths are confined to, links followed; None when they are not confined.

    Raises:
        InputError: When the setting names a folder that is not absolute.
    """
    setting = os.environ.get(SETTING, "")
    if not setting:
        return None
    named = [Path(part).expanduser() for part in setting.split(os.pathsep) if part]
    if relative := [str(path) for path in named if not path.is_absolute()]:
        raise InputError(
            f"{SETTING} must name absolute folders, separated by {os.pathsep!r}; got {', '.join(relative)} in it"
        )
    home = Path(os.environ.get("CL_HOME") or ".counterpoint").expanduser().absolute()
    return [_real(path) for path in (*named, home)]


def confined(path: str | Path, *, field: str) -> Path:
    """Return a path that came in as a parameter, absolute; with all links followed where paths are confined.

    `~` is the home of the user who runs this. `field` is the full path of the parameter, for the message.

    Raises:
        InputError: When it is outside the folders of CL_DATA_ROOTS.
    """
    absolute = Path(path).expanduser().absolute()
    roots = allowed_roots()
    if roots is None:
        return absolute
    resolved = _real(absolute)
    if not _within(resolved, roots):
        where = "" if resolved == absolute else f" (by a link or '..', {resolved})"
        raise InputError(
            f"{field}: {absolute}{where} is outside the allowed folders: "
            f"{', '.join(map(str, roots))}; choose a path in one of them, or have an administrator add its folder to "
            f"the setting {SETTING}"
        )
    return resolved


def leads_out(path: Path) -> bool:
    """Return whether a path below a confined folder is a link that leads out of all allowed folders."""
    if not os.environ.get(SETTING) or not path.is_symlink():
        return False
    roots = allowed_roots()
    return roots is not None and not _within(_real(path), roots)


def _real(path: Path) -> Path:
    """Follow all links; one that leads to itself ends there, where `Path.resolve` raises an error of its own."""
    return Path(os.path.realpath(path))


def _within(resolved: Path, roots: list[Path]) -> bool:
    return any(resolved.is_relative_to(root) for root in roots)
