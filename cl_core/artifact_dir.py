"""Sealed directories: written aside, checksummed, then renamed into place, so that they exist whole or not at all.

Snapshots, training caches, checkpoints, features and evaluations are all sealed directories. `manifest.json` is
written last and holds a sha256 for every other file.
"""

import contextlib
import errno
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cl_core import processes
from cl_core.errors import IntegrityError, StorageFullError
from cl_core.failpoints import failpoint
from cl_core.hashing import file_sha256

MANIFEST = "manifest.json"
STAGING = ".staging-"
_TEMPORARY = ".tmp"


@contextlib.contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """A private directory under `parent` to write into; removed on the way out unless it was published.

    What a killed process left staged in `parent` is removed first.

    Raises:
        StorageFullError: When the disk is full; the staged files are gone by then.
    """
    with disk_full_is_an_error(parent):
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        staged = Path(tempfile.mkdtemp(prefix=f"{STAGING}{processes.token()}-", dir=parent))
        try:
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def publish(staged: Path, final: Path, facts: dict[str, Any]) -> None:
    """Seal the staged directory with checksums and `facts`, and rename it to `final`.

    When a sound `final` already stands (someone else was quicker), that one is kept; a damaged one is replaced.

    Args:
        staged: From `staging`.
        final: Where it shall stand.
        facts: What the manifest says besides checksums.

    Raises:
        StorageFullError: When the disk is full.
    """
    with disk_full_is_an_error(final):
        failpoint("artifact_dir.staged")
        names = sorted(path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file())
        files = {
            name: {"sha256": file_sha256(staged / name), "bytes": (staged / name).stat().st_size} for name in names
        }
        for name in names:
            _fsync(staged / name)
        write_text(staged / MANIFEST, json.dumps({**facts, "files": files}, indent=1, sort_keys=True) + "\n")
        failpoint("artifact_dir.sealed")
        final.parent.mkdir(parents=True, exist_ok=True)
        staged.chmod(0o755)
        if final.exists():
            if is_sound(final):
                return
            shutil.rmtree(final)
        try:
            staged.rename(final)
        except OSError:
            if not is_sound(final):
                raise
        _fsync(final.parent)
        failpoint("artifact_dir.renamed")


def manifest_of(path: Path) -> dict[str, Any]:
    """The manifest of a sealed directory, its checksums not yet compared.

    Raises:
        IntegrityError: When there is no readable manifest.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path} has no readable {MANIFEST} ({error}); delete the folder and run again") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise IntegrityError(f"{path / MANIFEST} lists no files; delete the folder and run again")
    return manifest


def verify(path: Path) -> dict[str, Any]:
    """The manifest of a sealed directory, after comparing every file with its checksum.

    Who verifies is about to use it: that counts as a change of the directory, so that retention, which goes by when a
    thing was last used, leaves alone what a run has found. It is noted first, so that what is gone by then is missed.

    Raises:
        IntegrityError: When a file is missing or its bytes have changed; the message names it.
    """
    with contextlib.suppress(OSError):  # Where only reading is allowed, nothing is removed either.
        os.utime(path)
    manifest = manifest_of(path)
    for name, expected in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise IntegrityError(f"{file} is missing; delete {path} and run again")
        found = file_sha256(file)
        recorded = str(expected.get("sha256")) if isinstance(expected, dict) else ""
        if found != recorded:
            raise IntegrityError(
                f"{file} has changed since it was written: sha256 {found[:12]}…, expected {recorded[:12]}…; "
                f"delete {path} and run again, and check the disk"
            )
    return manifest


def is_sound(path: Path) -> bool:
    """Whether a sealed directory stands at `path` with every byte as written."""
    try:
        verify(path)
    except IntegrityError:
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Replace a file by new text such that a reader, or a crash, sees the old or the new, never a mixture.

    What a killed process left of writing the same file is removed first.

    Args:
        path: To write; its folder stands.
        text: Its whole content.

    Raises:
        StorageFullError: When the disk is full; the old file stands.
    """
    with replacing(path) as temporary:
        temporary.write_text(text)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write that then replaces `path`, such that a reader, or a crash, sees the old or the new one whole.

    Args:
        path: To be replaced.

    Raises:
        StorageFullError: When the disk is full; the old file stands.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{_TEMPORARY}"):
        if processes.is_gone(left.name.removeprefix(f".{path.name}.")):
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{processes.token()}{_TEMPORARY}")
    with disk_full_is_an_error(path):
        try:
            yield temporary
            _fsync(temporary)
            failpoint("artifact_dir.text-staged")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _fsync(path.parent)


@contextlib.contextmanager
def disk_full_is_an_error(path: Path) -> Iterator[None]:
    """Turn the system's "no space left" into a sentence that says where and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageFullError(
            f"no space left on the disk that holds {path}; nothing half-written remains. "
            "Free some space, or point CL_HOME at a larger disk, and run the same command again"
        ) from error


def abandoned(folder: Path) -> list[Path]:
    """What killed processes of this host left half-written below a folder: staged directories and temporary files."""
    left = [path for path in folder.rglob(f"{STAGING}*") if is_abandoned(path)]
    for path in folder.rglob(f".*{_TEMPORARY}"):
        maker = path.name.removesuffix(_TEMPORARY)
        # The name of the file that was to be written stands before, and may have dots itself.
        parts = maker.split(".")
        if any(processes.is_gone(".".join(parts[start:])) for start in range(2, len(parts))):
            left.append(path)
    return [path for path in left if not any(other in path.parents for other in left)]


def is_abandoned(staged: Path) -> bool:
    """Whether a staging directory was left by a process of this host that has ended; others may be at work."""
    return processes.is_gone(staged.name.removeprefix(STAGING))


def _remove_abandoned(parent: Path) -> None:
    """Remove staging directories of processes of this host that are no longer alive."""
    for left in parent.glob(f"{STAGING}*"):
        if is_abandoned(left):
            shutil.rmtree(left, ignore_errors=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
