"""A folder of image files: one folder per class, or unlabelled; at any depth."""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from cl_core.data.path_roots import SETTING, confined, leads_out
from cl_core.data.snapshot import SPLITS
from cl_core.data.sources import RawSample, Source, SourceEntry, Unreadable, unchanged
from cl_core.errors import DataError
from cl_core.modalities.image import MAX_PAYLOAD_BYTES
from cl_core.registry import SOURCES

# Files that claim to be images: those that are none, or of a format that is not read, are quarantined. Other files
# (README.txt, labels.csv) claim nothing and are passed over, and so is what starts with a dot (.DS_Store, ._a.jpg).
IMAGE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif"),
    *(".apng", ".avif", ".bmp", ".heic", ".heif", ".jp2", ".jxl", ".pgm", ".ppm", ".tga", ".tif", ".tiff"),
}


_OUTSIDE = f"a link that leads out of the folders of {SETTING}; it is not followed"


@SOURCES.register("image_folder")
class ImageFolder(Source):
    """Every image file below a folder.

    With `labels` from folders, the first folder on the way to a file is its class, and files that lie outside any have
    no label. With `splits` from folders, `train` and `test` folders at the top name the splits, and the classes come
    below. Symbolic links are followed, but not in circles, and not out of the folders of CL_DATA_ROOTS.
    """

    labels: Literal["from_folder", "none"] = Field(
        "from_folder", title="Labels", description="Whether the first folder on the way to a file is its class."
    )
    splits: Literal["from_folder", "none"] = Field(
        "from_folder",
        title="Splits",
        description="Whether `train` and `test` at the top are splits; else they are folders like others.",
    )

    def fingerprint(self, location: str) -> str:
        """Digest of the path and state of every image file."""
        root = _root(location)
        seen = hashlib.sha256(os.fsencode(root))
        empty = True
        for parts, path in _image_files(root):
            empty = False
            seen.update(os.fsencode("/".join(parts)) + f"\0{_state(path)}\0".encode())
        if empty:
            raise DataError(
                f"data.location: {root} holds no image files at any depth (names that end in .jpg, .png, .webp, .gif, "
                "...); give the folder that holds the images"
            )
        return seen.hexdigest()

    def listed(self, location: str) -> Iterator[SourceEntry]:
        """Every image file by its path, which says its split and class."""
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
        """One image file; one that cannot be read, or is too large to be an image, is passed on as unreadable."""
        path = _place(location) / os.fsdecode(listed.name)
        try:
            if leads_out(path):
                raise PermissionError(errno.EPERM, _OUTSIDE)
            size = path.stat().st_size
            if size > MAX_PAYLOAD_BYTES:
                detail = f"{size:,} bytes; files of at most {MAX_PAYLOAD_BYTES:,} are read"
                return Unreadable(listed.origin, detail, listed)
            return RawSample(path.read_bytes(), listed.label, listed.split, listed.origin, listed)
        except OSError as error:
            return Unreadable(listed.origin, str(error.strerror), listed)

    def samples(self, location: str) -> Iterator[RawSample | Unreadable]:
        """Every image file, read."""
        return (self.read(location, listed) for listed in self.listed(location))

    def number_of_inputs(self, location: str) -> int:
        """How many image files there are; none is read."""
        return sum(1 for _ in _image_files(_root(location)))

    def find(self, location: str, wanted: Mapping[bytes, str]) -> dict[bytes, bytes]:
        """Reads just these files."""
        found: dict[bytes, bytes] = {}
        for origin in wanted.values():
            with contextlib.suppress(OSError, ValueError):
                found |= unchanged([Path(_root(location), origin).read_bytes()], wanted)
        return found


def _state(path: Path) -> str:
    """Size, times and inode of a file, as Git's index has them: another file under the same name has another state,
    even if it brings the size and the time of change along. Empty where it cannot be looked at.
    """
    if leads_out(path):
        return _OUTSIDE
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"


def _place(location: str) -> Path:
    return Path(location).expanduser().absolute()


def _root(location: str) -> Path:
    if not location:
        raise DataError("data.location is empty; give the folder that holds the images")
    root = confined(location, field="data.location")
    try:
        mode = root.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"data.location: there is no folder {root}; give the folder that holds the images") from error
    except OSError as error:
        raise DataError(
            f"data.location: {root} cannot be reached ({error.strerror}); make the folders above it readable, or give "
            "another"
        ) from error
    if not stat.S_ISDIR(mode):
        raise DataError(f"data.location: {root} is a file; give the folder that holds the images")
    return root


def _has_splits(root: Path) -> bool:
    """Whether the folders at the top are splits, not classes.

    Raises:
        DataError: When it cannot be told: `train` and `test` stand beside other folders.
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
    """Every file with an image's suffix below `root`, with the parts of its path relative to it."""
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
            if leads_out(Path(entry)):
                # Nobody looks whether it is a file or a folder: either way, it is named and not followed.
                if entry.is_dir() or Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
                    yield below, folder / entry.name
            elif entry.is_dir():
                waiting.append((below, folder / entry.name, above | {here}))
            elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
                yield below, folder / entry.name


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, by name, without hidden files.

    Raises:
        DataError: When it cannot be listed: nobody could tell how many images would be missing.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"data.location: the folder {folder} cannot be listed ({error.strerror}); make it readable, or move it away"
        ) from error


def _text(name: str) -> str:
    """A file name for people and for Parquet: bytes that are no UTF-8 are written as \\xNN."""
    return os.fsencode(name).decode(errors="backslashreplace")
