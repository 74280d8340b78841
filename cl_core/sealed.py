"""Sealed directories: written aside, checksummed, then renamed into place, so that they exist whole or not at all.

Snapshots, training caches, checkpoints, features and evaluations are all sealed directories. `manifest.json` is
written last and holds a sha256 for every other file.
"""

import contextlib
import errno
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cl_core.digest import file_sha256
from cl_core.errors import IntegrityError, StorageFullError

MANIFEST = "manifest.json"
_STAGING = ".staging-"


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
        staged = Path(tempfile.mkdtemp(prefix=f"{_STAGING}{socket.gethostname()}-{os.getpid()}-", dir=parent))
        try:
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def publish(staged: Path, final: Path, facts: dict[str, Any]) -> None:
    """Seal the staged directory with checksums and `facts`, and rename it to `final`.

    When a sound `final` already stands (someone else was quicker), that one is kept; a damaged one is replaced.

    Raises:
        StorageFullError: When the disk is full.
    """
    with disk_full_is_an_error(final):
        names = sorted(path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file())
        files = {
            name: {"sha256": file_sha256(staged / name), "bytes": (staged / name).stat().st_size} for name in names
        }
        for name in names:
            _fsync(staged / name)
        write_text(staged / MANIFEST, json.dumps({**facts, "files": files}, indent=1, sort_keys=True) + "\n")
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

    Raises:
        IntegrityError: When a file is missing or its bytes have changed; the message names it.
    """
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

    Raises:
        StorageFullError: When the disk is full; the old file stands.
    """
    with replacing(path) as temporary:
        temporary.write_text(text)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write that then replaces `path`, such that a reader, or a crash, sees the old or the new one whole.

    Raises:
        StorageFullError: When the disk is full; the old file stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_full_is_an_error(path):
        try:
            yield temporary
            _fsync(temporary)
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


def _remove_abandoned(parent: Path) -> None:
    """Remove staging directories of processes of this host that are no longer alive."""
    for left in parent.glob(f"{_STAGING}{socket.gethostname()}-*"):
        pid = int(left.name.removeprefix(f"{_STAGING}{socket.gethostname()}-").split("-")[0])
        if not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
