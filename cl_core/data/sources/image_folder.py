"""A folder of image files: one folder per class, or unlabeled; at any depth."""

import contextlib
import errno
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import PrivateAttr

from cl_core.data.path_roots import SETTING, confined, leads_out
from cl_core.data.sources import RawSample, Source, SourceEntry, Unreadable, unchanged
from cl_core.data.sources._folder_layout import Layout, folder_layout, image_files
from cl_core.errors import DataError
from cl_core.modalities.image import MAX_PAYLOAD_BYTES
from cl_core.registry import SOURCES

# What Git leaves in place of a large file that was not downloaded.
_LFS_POINTER = b"version https://git-lfs"
_OUTSIDE = f"a link out of the folders of {SETTING}; it is not followed"


@SOURCES.register("image_folder")
class ImageFolder(Source):
    """Every image file below a folder.

    With `labels` from folders, the first folder on the way to a file is its class; files outside any folder have no
    label. With `splits` from folders, `train`, `val` (or `valid`, `validation`) and `test` folders, in any case, at the
    top or in the only folder there, are the splits, with the classes below. Without `test` the validation images are
    the test split, beside it they are trained on. A folder `images` that holds all images of a split is no class.
    Symbolic links are followed, but not in circles, and not out of the folders of CL_DATA_ROOTS.
    """

    labels: Literal["from_folder", "none"] = "from_folder"
    """Whether the first folder on the way to a file is its class."""
    splits: Literal["from_folder", "none"] = "from_folder"
    """Whether folders such as `train`, `val` and `test` are splits; otherwise they are folders like others."""

    _passed_over: Counter[str] = PrivateAttr(default_factory=Counter)

    def fingerprint(self, location: str) -> str:
        """Return a digest of the path and state of every image file."""
        root = _root(location)
        seen = hashlib.sha256(os.fsencode(root))
        empty = True
        for parts, path in image_files(root):
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
        layout = folder_layout(root) if self.splits == "from_folder" else Layout()
        self._passed_over.clear()
        for parts, path in image_files(root, self._passed_over):
            split, folders = layout.place(parts[:-1])
            label = _text(folders[0]) if self.labels == "from_folder" and folders else None
            name = "/".join(parts)
            yield SourceEntry(os.fsencode(name), _state(path), label, split, _text(name))

    def note(self, location: str) -> str:
        """Return how folders were taken for splits, where that is open, and what the last listing has passed over."""
        taken = folder_layout(_root(location)).note if self.splits == "from_folder" else ""
        counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self._passed_over.items()))
        return "; ".join(filter(None, [taken, counts and f"passed over: {counts}"]))

    def read(self, location: str, listed: SourceEntry) -> RawSample | Unreadable:
        """Read one image file; a file that cannot be read, or is too large, becomes unreadable."""
        path = Path(location).expanduser().absolute() / os.fsdecode(listed.name)
        try:
            if leads_out(path):
                raise PermissionError(errno.EPERM, _OUTSIDE)
            state = path.stat()
            if not stat.S_ISREG(state.st_mode):  # Opening a pipe would wait for its writer.
                return Unreadable(listed.origin, f"it is not a file but a {_kind(state.st_mode)}", listed)
            if state.st_size > MAX_PAYLOAD_BYTES:
                detail = f"{state.st_size:,} bytes; the limit is {MAX_PAYLOAD_BYTES:,}"
                return Unreadable(listed.origin, detail, listed)
            payload = path.read_bytes()
            if payload.startswith(_LFS_POINTER):
                return Unreadable(
                    listed.origin, "a pointer of Git LFS in place of the image; run `git lfs pull`", listed
                )
            return RawSample(payload, listed.label, listed.split, listed.origin, listed)
        except OSError as error:
            return Unreadable(listed.origin, str(error.strerror), listed)

    def samples(self, location: str) -> Iterator[RawSample | Unreadable]:
        """Read every image file."""
        return (self.read(location, listed) for listed in self.listed(location))

    def number_of_inputs(self, location: str) -> int:
        """Count the image files; none is read."""
        return sum(1 for _ in image_files(_root(location)))

    def find(self, location: str, origins: Mapping[bytes, str]) -> dict[bytes, bytes]:
        """Read just these files."""
        payloads: dict[bytes, bytes] = {}
        for origin in origins.values():
            path = Path(_root(location), origin)
            with contextlib.suppress(OSError, ValueError):
                payloads |= unchanged([path.read_bytes()], origins) if path.is_file() else {}
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


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFDIR: "folder"}
    return kinds.get(stat.S_IFMT(mode), "device")


def _text(name: str) -> str:
    """Return a file name for people and for Parquet: bytes that are not UTF-8 are written as \\xNN."""
    return os.fsencode(name).decode(errors="backslashreplace")
