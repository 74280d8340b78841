"""Where paths that come in as parameters may lead: CL_DATA_ROOTS, read here and nowhere else.

Whoever may start a run chooses its parameters, and could name any file that the server's user may read. With the
setting, a path must lie in one of its folders, or in CL_HOME, once all symbolic links are followed. Without it every
path is allowed: a person at a terminal reads nothing that they could not read anyway.
"""

import os
from pathlib import Path

from cl_core.errors import InputError

SETTING = "CL_DATA_ROOTS"


def allowed_roots() -> list[Path] | None:
    """The folders that paths are confined to, links followed; None when they are not confined.

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
    home = Path(os.environ.get("CL_HOME", ".counterpoint")).expanduser().absolute()
    return [path.resolve() for path in (*named, home)]


def confined(path: str | Path, *, field: str) -> Path:
    """A path that came in as a parameter, absolute; with all links followed where paths are confined.

    Args:
        path: What was given; `~` is the home of the user who runs this.
        field: Full path of the parameter, for the message.

    Raises:
        InputError: When it leads out of the folders of CL_DATA_ROOTS.
    """
    given = Path(path).expanduser().absolute()
    roots = allowed_roots()
    if roots is None:
        return given
    resolved = given.resolve()
    if not _within(resolved, roots):
        where = "" if resolved == given else f" (by a link or '..', {resolved})"
        raise InputError(
            f"{field}: {given}{where} lies in none of the folders that may be used: "
            f"{', '.join(map(str, roots))}; choose a path in one of them, or have an administrator add its folder to "
            f"the setting {SETTING}"
        )
    return resolved


def leads_out(path: Path) -> bool:
    """Whether something found below a confined folder is a link that leads out of all that may be used."""
    if not os.environ.get(SETTING) or not path.is_symlink():
        return False
    roots = allowed_roots()
    return roots is not None and not _within(path.resolve(), roots)


def _within(resolved: Path, roots: list[Path]) -> bool:
    return any(resolved.is_relative_to(root) for root in roots)
