"""A folder of image files: one folder per class, or unlabeled; at any depth."""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from cl_core.data.path_roots import SETTING, confined, leads_out
from cl_core.data.snapshot import SPLITS
from cl_core.data.sources import RawSample, Source, SourceEntry, Unreadable, unchanged
from cl_core.errors import DataError
from cl_core.modalities.image import MAX_PAYLOAD_BYTES
from cl_core.registry import SOURCES

# Files with these suffixes that cannot be decoded are quarantined. Other files (README.txt, labels.csv) and hidden
# files (.DS_Store, ._a.jpg) are ignored.
IMAGE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif"),
    *(".apng", ".avif", ".bmp", ".heic", ".heif", ".jp2", ".jxl", ".pgm", ".ppm", ".tga", ".tif", ".tiff"),
}


_OUTSIDE = f"a link out of the folders of {SETTING}; it is not followed"


@SOURCES.register("image_folder")
class ImageFolder(Source):
    """Every image file below a folder.

    With `labels` from folders, the first folder on the way to a file is its class; files outside any folder have no
    label. With `splits` from folders, `train` and `test` folders at the top are the splits, with the classes below.
    Symbolic links are followed, but not in circles, and not out of the folders of CL_DATA_ROOTS.
    """

    labels: Literal["from_folder", "none"] = "from_folder"
    """Whether the first folder on the way to a file is its class."""
    splits: Literal["from_folder", "none"] = "from_folder"
    """Whether `train` and `test` at the top are splits; otherwise they are folders like others."""

    def fingerprint(self, location: str) -> str:
        """Return a digest of the path and state of every image file."""
        root = _root(location)
        seen = hashlib.sha256(os.fsencode(root))
        empty = True
        for parts, path in _image_files(root):
            empty = False
            seen.update(os.fsencode("/".join(parts)) + f"\0{_state(path)}\0".encode())
        if empty:
            raise DataError(
                f"data.location: {root} has no image files at any depth (names that end in .jpg, .png, .webp, .gif, "
                "...); give the folder with the images"
            )
        return seen.hexdigest()

    def listed(self, location: str) -> Iterator[SourceEntry]:
        """List every image file by its path, which gives its split and class."""
        root = _root(location)
        with_splits = self.splits == "from_folder" and _has_splits(root)
        for parts, path in _image_files(root):
            name = "/".join(parts)
            folders = parts[:-1]
            split = ""
            if with_splits and folders:
                split, *folders = folders
            label = _text(folders[0]) if self.labels == "from_folder" and folders else None
            yield SourceEntry(os.fsencode(name), _state(path), label, split, _text(name))

    def read(self, location: str, listed: SourceEntry) -> RawSample | Unreadable:
        """Read one image file; a file that cannot be read, or is too large, becomes unreadable."""
        path = Path(location).expanduser().absolute() / os.fsdecode(listed.name)
        try:
            if leads_out(path):
                raise PermissionError(errno.EPERM, _OUTSIDE)
            size = path.stat().st_size
            if size > MAX_PAYLOAD_BYTES:
                detail = f"{size:,} bytes; the limit is {MAX_PAYLOAD_BYTES:,}"
                return Unreadable(listed.origin, detail, listed)
            return RawSample(path.read_bytes(), listed.label, listed.split, listed.origin, listed)
        except OSError as error:
            return Unreadable(listed.origin, str(error.strerror), listed)

    def samples(self, location: str) -> Iterator[RawSample | Unreadable]:
        """Read every image file."""
        return (self.read(location, listed) for listed in self.listed(location))

    def number_of_inputs(self, location: str) -> int:
        """Count the image files; none is read."""
        return sum(1 for _ in _image_files(_root(location)))

    def find(self, location: str, origins: Mapping[bytes, str]) -> dict[bytes, bytes]:
        """Read just these files."""
        payloads: dict[bytes, bytes] = {}
        for origin in origins.values():
            with contextlib.suppress(OSError, ValueError):
                payloads |= unchanged([Path(_root(location), origin).read_bytes()], origins)
        return payloads


def _state(path: Path) -> str:
    """Return size, times and inode of a file, as Git's index has them; empty where they cannot be read.

    Another file under the same name has another state, even with the same size and modification time.
    """
    if leads_out(path):
        return _OUTSIDE
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"


def _root(location: str) -> Path:
    if not location:
        raise DataError("data.location is empty; give the folder with the images")
    root = confined(location, field="data.location")
    try:
        mode = root.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"data.location: there is no folder {root}; give the folder with the images") from error
    except OSError as error:
        raise DataError(
            f"data.location: {root} cannot be reached ({error.strerror}); make the folders above it readable, or give "
            "another"
        ) from error
    if not stat.S_ISDIR(mode):
        raise DataError(f"data.location: {root} is a file; give the folder with the images")
    return root


def _has_splits(root: Path) -> bool:
    """Tell whether the folders at the top are splits, not classes.

    Raises:
        DataError: When it is ambiguous: other folders are beside `train` and `test`.
    """
    folders = {entry.name for entry in _entries(root) if entry.is_dir()}
    if folders >= set(SPLITS) and (others := sorted(folders - set(SPLITS))):
        raise DataError(
            f"data.location: {root} holds train/ and test/ beside {', '.join(f'{name}/' for name in others[:5])}; "
            "only train and test are splits: move the others away or into train/, or set source_options.splits to "
            "'none' to take all as classes"
        )
    return bool(folders) and folders <= set(SPLITS)


def _image_files(root: Path) -> Iterator[tuple[list[str], Path]]:
    """Yield every file with an image's suffix below `root`, with the parts of its path relative to it."""
    # The folders on the way down, by device and inode: a link to one of them would lead in circles.
    waiting: list[tuple[list[str], Path, frozenset[tuple[int, int]]]] = [([], root, frozenset())]
    while waiting:
        parts, folder, above = waiting.pop()
        state = folder.stat()
        here = (state.st_dev, state.st_ino)
        if here in above:
            continue
        for entry in _entries(folder):
            below = [*parts, entry.name]
            # A link that leads out, to a file or a folder, is listed but not followed.
            if entry.is_dir() and not leads_out(Path(entry)):
                waiting.append((below, folder / entry.name, above | {here}))
            elif entry.is_dir() or Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
                yield below, folder / entry.name


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder by name, without hidden files.

    Raises:
        DataError: When it cannot be listed, since the number of missing images would be unknown.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"data.location: the folder {folder} cannot be listed ({error.strerror}); make it readable, or move it away"
        ) from error


def _text(name: str) -> str:
    """Return a file name for people and for Parquet: bytes that are not UTF-8 are written as \\xNN."""
    return os.fsencode(name).decode(errors="backslashreplace")
