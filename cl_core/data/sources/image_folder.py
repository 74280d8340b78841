"""A folder of image files: one folder per class, or unlabeled; at any depth."""

import contextlib
import errno
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from cl_core.data.path_roots import confined, leads_out
from cl_core.data.sources import RawSample, Source, SourceEntry, Unreadable, unchanged
from cl_core.data.sources._folder_layout import Layout, folder_layout, image_files
from cl_core.data.sources._listing import OUTSIDE, counted, file_kind, file_state, nothing_listed, text_of
from cl_core.data.sources._path_labels import NAME_PATTERN, check_pattern, name_label, no_name_matches, trimmed
from cl_core.errors import DataError
from cl_core.modalities._image_decoding import MAX_PAYLOAD_BYTES
from cl_core.registry import SOURCES
from cl_core.specs.renamed import current_options


@SOURCES.register("image_folder")
class ImageFolder(Source):
    """Every image file below a folder.

    With `label_from` folders, the first folder on the way to a file is its class; files outside any folder have no
    label. With `split_from` folders, `train`, `val` (or `valid`, `validation`) and `test` folders, in any case, at the
    top or in the only folder with images there, are the splits, with the classes below. Images beside splits are
    refused. Without `test` the validation images are the test split, beside it they are trained on. A folder `images`
    that holds all images of a split is no class. Symbolic links are followed, but not in circles, and not out of the
    folders of CL_DATA_ROOTS.
    """

    label_from: Literal["folder", "file_name", "none"] = "folder"
    """What names the class of a file: the first folder on the way to it, or its own name, by `label_pattern`."""
    label_pattern: str = Field(NAME_PATTERN)
    """Regular expression with one group, which finds the class in a file's name without its suffix. As it is, that is
    all before a number at the end: cat of cat_001.png. Read with `label_from` file_name."""
    split_from: Literal["folder", "none"] = "folder"
    """Whether folders such as `train`, `val` and `test` are splits; otherwise they are folders like others."""

    _passed_over: Counter[str] = PrivateAttr(default_factory=Counter)
    _layouts: dict[str, Layout] = PrivateAttr(default_factory=dict)  # By location, of the last listing.
    _folders: dict[str, Path] = PrivateAttr(default_factory=dict)  # By location, absolute.

    @model_validator(mode="before")
    @classmethod
    def _in_present_words(cls, options: Any) -> Any:
        return current_options("image_folder", options)

    @model_validator(mode="after")
    def _a_pattern_is_read(self) -> Self:
        check_pattern(self.label_pattern, self.label_from)
        return self

    def fingerprint(self, location: str) -> str:
        """Return a digest of the path and state of every image file."""
        root = _root(location)
        seen = hashlib.sha256(os.fsencode(root))
        empty = True
        self._passed_over.clear()
        for parts, path in image_files(root, self._passed_over):
            empty = False
            seen.update(os.fsencode("/".join(parts)) + f"\0{file_state(path)}\0".encode())
        if empty:
            others = f"; {counted(self._passed_over)}" if self._passed_over else ""
            raise nothing_listed(
                root,
                self._passed_over,
                f"data.location: {root} has no image files at any depth (names that end in .jpg, .png, .webp, .gif, "
                f"...{others}); give the folder with the images",
            )
        return seen.hexdigest()

    def listed(self, location: str) -> Iterator[SourceEntry]:
        """List every image file by its path, which gives its split and class."""
        root = _root(location)
        layout = self._layouts[location] = folder_layout(root) if self.split_from == "folder" else Layout()
        self._passed_over.clear()
        name, labeled = "", False
        for parts, path in image_files(root, self._passed_over):
            split, folders = layout.place(parts[:-1])
            label = self._label(folders, parts[-1])
            labeled = labeled or label is not None
            name = "/".join(parts)
            yield SourceEntry(os.fsencode(name), file_state(path), label, split, text_of(parts))
        if name and not labeled and self.label_from == "file_name":
            raise no_name_matches(self.label_pattern, name)

    def _label(self, folders: Sequence[str], name: str) -> str | None:
        if self.label_from == "file_name":
            return name_label(name, self.label_pattern)
        return trimmed(text_of(folders[:1])) if self.label_from == "folder" else None

    def note(self, location: str) -> str:
        """Return how folders were taken for splits, where that is open."""
        layout = self._layouts.get(location)
        if layout is None:  # Nothing was listed; otherwise the folders are not walked again.
            layout = folder_layout(_root(location)) if self.split_from == "folder" else Layout()
        return layout.note

    def passed_over(self) -> dict[str, int]:
        """Return how many files the last listing passed over: by suffix, or by name where a system has made them."""
        return dict(sorted(self._passed_over.items()))

    def read(self, location: str, listed: SourceEntry) -> RawSample | Unreadable:
        """Read one image file; a file that cannot be read, or is too large, becomes unreadable."""
        folder = self._folders.get(location)
        if folder is None:  # Found once for all of its files.
            folder = self._folders[location] = Path(location).expanduser().absolute()
        path = folder / os.fsdecode(listed.name)
        try:
            if leads_out(path):
                raise PermissionError(errno.EPERM, OUTSIDE)
            state = path.stat()
            if not stat.S_ISREG(state.st_mode):  # Opening a pipe would wait for its writer.
                return Unreadable(listed.origin, f"it is not a file but a {file_kind(state.st_mode)}", listed)
            if state.st_size > MAX_PAYLOAD_BYTES:
                detail = f"{state.st_size:,} bytes; the limit is {MAX_PAYLOAD_BYTES:,}"
                return Unreadable(listed.origin, detail, listed)
            with path.open("rb", buffering=0) as file:
                return RawSample(file.read(), listed.label, listed.split, listed.origin, listed)
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
