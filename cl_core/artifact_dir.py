"""Artifact directories: staged, checksummed, then renamed into place, so that they exist as a whole or not at all.

Snapshots, training caches, checkpoints, features and evaluations are all artifact directories. `manifest.json` is
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
# Between the name of a file and the token of the process that writes it: no name of a host has it, and both have dots.
_BY = ".@"


@contextlib.contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """Create a private directory under `parent` to write into; remove it at the end unless it was published.

    Directories that killed processes left in `parent` are removed first.

    Raises:
        StorageFullError: When the disk is full; the staged files are removed by then.
    """
    with disk_full_as_error(parent):
        parent.mkdir(parents=True, exist_ok=True)
        for path in parent.glob(f"{STAGING}*"):
            if is_orphaned(path):
                shutil.rmtree(path, ignore_errors=True)
        staged = Path(tempfile.mkdtemp(prefix=f"{STAGING}{processes.token()}-", dir=parent))
        try:
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def publish(staged: Path, final: Path, metadata: dict[str, Any]) -> None:
    """Write the manifest of the staged directory, checksums and `metadata`, and rename the directory to `final`.

    An intact `final` (another process was faster) is kept; a damaged one is replaced.

    Raises:
        StorageFullError: When the disk is full.
    """
    with disk_full_as_error(final):
        failpoint("artifact_dir.staged")
        files = {}
        for file in filter(Path.is_file, staged.rglob("*")):
            name = file.relative_to(staged).as_posix()
            files[name] = {"sha256": file_sha256(file), "bytes": file.stat().st_size}
            _fsync(file)
        write_text(staged / MANIFEST, json.dumps({**metadata, "files": files}, indent=1, sort_keys=True) + "\n")
        failpoint("artifact_dir.sealed")
        final.parent.mkdir(parents=True, exist_ok=True)
        staged.chmod(0o755)
        if final.exists():
            if is_intact(final):
                return
            shutil.rmtree(final)
        try:
            staged.rename(final)
        except OSError:
            if not is_intact(final):
                raise
        _fsync(final.parent)
        failpoint("artifact_dir.renamed")


def manifest_of(path: Path) -> dict[str, Any]:
    """Return the manifest of an artifact directory without comparing its checksums.

    Raises:
        IntegrityError: When there is no readable manifest.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path} has no readable {MANIFEST} ({error}); delete the folder and run again") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise IntegrityError(f"{path / MANIFEST} lists no files; delete the folder and run again")
    return manifest


def verify(path: Path) -> dict[str, Any]:
    """Compare every file of an artifact directory with its checksum and return the manifest.

    It also updates the directory's mtime, so that pruning treats the artifact as in use. It does so first, so that an
    artifact that was pruned before is reported as missing.

    Raises:
        IntegrityError: When a file is missing or its bytes have changed; the message names it.
    """
    with contextlib.suppress(OSError):  # Nothing is pruned from a read-only file system.
        os.utime(path)
    manifest = manifest_of(path)
    for name, expected in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise IntegrityError(f"{file} is missing; delete {path} and run again")
        actual = file_sha256(file)
        recorded = str(expected.get("sha256")) if isinstance(expected, dict) else ""
        if actual != recorded:
            raise IntegrityError(
                f"{file} has changed since it was written: sha256 {actual[:12]}…, expected {recorded[:12]}…; "
                f"delete {path} and run again, and check the disk"
            )
    return manifest


def is_intact(path: Path) -> bool:
    """Check for an artifact directory at `path` with every byte as written."""
    try:
        verify(path)
    except IntegrityError:
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Replace a file's text atomically: a reader, or a crash, sees the old or the new text as a whole.

    Temporary files that killed processes left of the same file are removed first.

    Raises:
        StorageFullError: When the disk is full; the old file is kept.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file to write, which then replaces `path` atomically.

    Raises:
        StorageFullError: When the disk is full; the old file is kept.
    """
    for temporary in path.parent.glob(f".{glob.escape(path.name)}{_BY}*{_TEMPORARY}"):
        if _is_left(temporary):
            temporary.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}{_BY}{processes.token()}{_TEMPORARY}")
    with disk_full_as_error(path):
        try:
            yield temporary
            _fsync(temporary)
            failpoint("artifact_dir.text-staged")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _fsync(path.parent)


@contextlib.contextmanager
def disk_full_as_error(path: Path) -> Iterator[None]:
    """Turn the system's "no space left" into an error that says where and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageFullError(
            f"no space left on the disk that holds {path}; no partial files remain. "
            "Free some space, or point CL_HOME at a larger disk, and run the same command again"
        ) from error


def orphaned(folder: Path) -> list[Path]:
    """List staging directories and temporary files below a folder that killed processes of this host left."""
    paths = [path for path in folder.rglob(f"{STAGING}*") if is_orphaned(path)]
    paths += [path for path in folder.rglob(f".*{_TEMPORARY}") if _is_left(path)]
    return [path for path in paths if not any(other in path.parents for other in paths)]


def is_orphaned(staged: Path) -> bool:
    """Return whether the process of this host that made a staging directory has ended; others may be at work."""
    return processes.is_gone(staged.name.removeprefix(STAGING))


def _is_left(temporary: Path) -> bool:
    """Return whether the process of this host that wrote a temporary file has ended.

    Version 0.1.0 had a dot before the token. Its host is then known only where the name of the written file is.
    """
    _, by, token = temporary.name.removesuffix(_TEMPORARY).rpartition(_BY)
    if by:
        return processes.is_gone(token)
    parts = temporary.name.removesuffix(_TEMPORARY).split(".")
    splits = ((".".join(parts[1:at]), ".".join(parts[at:])) for at in range(2, len(parts)))
    return any(processes.is_gone(token) and temporary.with_name(name).exists() for name, token in splits)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
