"""Files below a folder: which are listed and which passed over, which links are followed, and when one has changed."""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from pathlib import Path

from cl_core.data.path_roots import SETTING, leads_out
from cl_core.errors import DataError
from cl_core.modalities import Rejected
from cl_core.modalities._image_head import HEAD_BYTES

# Folders that macOS, NAS boxes, Linux and Windows make: previews, resource forks, deleted and recovered files.
NOT_OF_PEOPLE = frozenset(("__MACOSX", "@eaDir", "#recycle", "lost+found", "$RECYCLE.BIN", "System Volume Information"))
OUTSIDE = f"a link out of the folders of {SETTING}; it is not followed"
LFS_POINTERS = "Git LFS pointers (run `git lfs pull`)"
"""What the pointers are counted as that Git leaves in place of large files that were not downloaded."""
_LFS_POINTER = b"version https://git-lfs"
# Three lines: 119 bytes of version and sum, then the size of the file in digits. Other files are not opened.
_POINTER_BYTES = range(120, 151)


def listed_files(
    root: Path,
    *,
    suffixes: Set[str],
    starts: Callable[[bytes], bool],
    passed_over: Counter[str],
    left_out: Set[str] = NOT_OF_PEOPLE,
) -> Iterator[tuple[list[str], Path]]:
    """Yield every file of one kind below `root`, with the parts of its path relative to it.

    Links are followed, but not in circles. Of a link out of the folders of CL_DATA_ROOTS the link itself is yielded.

    Args:
        root: Folder that is listed.
        suffixes: Of such files, in lowercase.
        starts: Tells by its first `HEAD_BYTES` whether a file with another suffix is one.
        passed_over: Counts what is passed over: by suffix, or by name where it is in `left_out`; and pointers of Git
            LFS.
        left_out: Names of files and folders that are passed over, beside hidden ones.
    """
    # The folders on the way down, by device and inode: a link to one of them would lead in circles.
    waiting: list[tuple[list[str], Path, frozenset[tuple[int, int]]]] = [([], root, frozenset())]
    while waiting:
        parts, folder, above = waiting.pop()
        state = folder.stat()
        here = (state.st_dev, state.st_ino)
        if here in above:
            continue
        for entry in entries(folder, passed_over, left_out):
            below = [*parts, entry.name]
            # A link that leads out, to a file or a folder, is listed but not followed.
            if is_folder(entry) and not leads_out(Path(entry)):
                waiting.append((below, folder / entry.name, above | {here}))
                continue
            counted_as = "" if is_folder(entry) else passed_over_as(entry, suffixes, starts)
            if counted_as:
                passed_over[counted_as] += 1
            else:
                yield below, folder / entry.name


def passed_over_as(entry: os.DirEntry[str], suffixes: Set[str], starts: Callable[[bytes], bool]) -> str:
    """Return what a file is counted as that is passed over; empty for one that is listed. See `listed_files`."""
    suffix = Path(entry.name).suffix.lower()
    # The suffix is enough for files that no pointer is as long as: a listing opens nothing that has not changed.
    head = b"" if suffix in suffixes and not _may_be_pointer(entry) else _head(entry)
    if head.startswith(_LFS_POINTER):
        return LFS_POINTERS
    return "" if suffix in suffixes or starts(head) else suffix or "no suffix"


def nothing_listed(root: Path, passed_over: Mapping[str, int], otherwise: str) -> DataError:
    """Return the error of a folder without inputs; `otherwise` says what it lacks where Git LFS is not the reason."""
    pointers = f"data.location: the files below {root} are pointers of Git LFS; run `git lfs pull`"
    return DataError(pointers if LFS_POINTERS in passed_over else otherwise)


def _may_be_pointer(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.stat().st_size in _POINTER_BYTES
    except OSError:
        return False


def entries(
    folder: Path, passed_over: Counter[str] | None = None, left_out: Set[str] = NOT_OF_PEOPLE
) -> list[os.DirEntry[str]]:
    """List a folder by name, without hidden files and those of `left_out`, which are counted.

    Raises:
        DataError: When it cannot be listed, since the number of missing files would be unknown.
    """
    try:
        with os.scandir(folder) as found:
            listed = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"data.location: the folder {folder} cannot be listed ({error.strerror}); make it readable, or move it away"
        ) from error
    if passed_over is not None:
        passed_over.update("hidden" for entry in listed if entry.name.startswith("."))
        passed_over.update(entry.name for entry in listed if entry.name in left_out)
    return [entry for entry in listed if not entry.name.startswith(".") and entry.name not in left_out]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _head(entry: os.DirEntry[str]) -> bytes:
    """Return the first bytes of a regular file; nothing of all else, since a pipe would wait for its writer."""
    try:
        if not entry.is_file() or leads_out(Path(entry)):
            return b""
        with Path(entry).open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def file_state(path: Path) -> str:
    """Return size, times and inode of a file, as Git's index has them; empty where they cannot be read.

    Another file under the same name has another state, even with the same size and modification time.
    """
    if leads_out(path):
        return OUTSIDE
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"


def fingerprint_of(paths: Iterable[Path]) -> str:
    """Return a digest of the path and state of every file."""
    seen = hashlib.sha256()
    for path in paths:
        seen.update(os.fsencode(path) + f"\0{file_state(path)}\0".encode())
    return seen.hexdigest()


def is_lfs_pointer(path: Path) -> bool:
    """Return whether Git left a pointer in place of a file, which could not be read as what it is named."""
    try:
        with path.open("rb") as file:
            return file.read(len(_LFS_POINTER)) == _LFS_POINTER
    except OSError:
        return False


def read_file(path: Path, *, most_bytes: int) -> bytes:
    """Return the bytes of a file.

    Raises:
        Rejected: When it cannot be read, is larger, or is no regular file.
        FileNotFoundError: When there is none.
    """
    try:
        if leads_out(path):
            raise Rejected("unreadable", OUTSIDE)
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):  # Opening a pipe would wait for its writer.
            raise Rejected("unreadable", f"it is not a file but a {file_kind(state.st_mode)}")
        if state.st_size > most_bytes:
            raise Rejected("unreadable", f"{state.st_size:,} bytes; the limit is {most_bytes:,}")
        with path.open("rb", buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise Rejected("unreadable", getattr(error, "strerror", None) or str(error)) from error


def file_kind(mode: int) -> str:
    """Return what it is that is not a regular file, by its `st_mode`."""
    kinds = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFDIR: "folder"}
    return kinds.get(stat.S_IFMT(mode), "device")


def text_of(parts: Iterable[str]) -> str:
    """Return a path for people and for Parquet: bytes that are not UTF-8 are written as \\xNN."""
    return os.fsencode("/".join(parts)).decode(errors="backslashreplace")


def counted(passed_over: Mapping[str, int]) -> str:
    """Return what was passed over as a phrase; empty for nothing."""
    counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(passed_over.items()))
    return f"passed over: {counts}" if counts else ""
