"""Folders of files that are a sample each: one folder per class, or unlabeled; at any depth."""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from cl_core.data.path_roots import confined
from cl_core.data.sources import RawSample, Source, SourceEntry, Unreadable, unchanged
from cl_core.data.sources._folder_layout import FileKind, Layout, folder_layout
from cl_core.data.sources._listing import counted, file_state, nothing_listed, read_file, text_of
from cl_core.data.sources._path_labels import NAME_PATTERN, check_pattern, name_label, no_name_matches, trimmed
from cl_core.errors import DataError
from cl_core.modalities import Rejected


class FileFolder(Source):
    """Every file of one kind below a folder."""

    kind: ClassVar[FileKind]

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

    @property
    def read_kind(self) -> FileKind:
        """The files that are read: those of the kind, and what is read with them."""
        return self.kind

    @model_validator(mode="after")
    def _a_pattern_is_read(self) -> Self:
        check_pattern(self.label_pattern, self.label_from)
        return self

    def fingerprint(self, location: str) -> str:
        """Return a digest of the path and state of every file."""
        root = self._root(location)
        seen = hashlib.sha256(os.fsencode(root))
        empty = True
        self._passed_over.clear()
        for parts, path in self.read_kind.files(root, self._passed_over):
            empty = False
            seen.update(os.fsencode("/".join(parts)) + f"\0{file_state(path)}\0".encode())
        if empty:
            others = f"; {counted(self._passed_over)}" if self._passed_over else ""
            raise nothing_listed(
                root,
                self._passed_over,
                f"data.location: {root} has no {self.kind.noun} files at any depth (names that end in "
                f"{self.kind.examples}{others}); give the folder with the {self.kind.noun}s",
            )
        return seen.hexdigest()

    def listed(self, location: str) -> Iterator[SourceEntry]:
        """List every file by its path, which gives its split and class."""
        root = self._root(location)
        layout = self._layouts[location] = folder_layout(root, self.kind) if self.split_from == "folder" else Layout()
        self._passed_over.clear()
        name, labeled = "", False
        for parts, path in self.read_kind.files(root, self._passed_over):
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
            layout = folder_layout(self._root(location), self.kind) if self.split_from == "folder" else Layout()
        return layout.note

    def passed_over(self) -> dict[str, int]:
        """Return how many files the last listing passed over: by suffix, or by name where a system has made them."""
        return dict(sorted(self._passed_over.items()))

    def read(self, location: str, listed: SourceEntry) -> RawSample | Unreadable:
        """Read one file; one that cannot be read, or is too large, becomes unreadable."""
        folder = self._folders.get(location)
        if folder is None:  # Found once for all of its files.
            folder = self._folders[location] = Path(location).expanduser().absolute()
        path = folder / os.fsdecode(listed.name)
        try:
            file = read_file(path, most_bytes=self.kind.most_bytes)
        except Rejected as rejection:
            return Unreadable(listed.origin, rejection.detail, listed)
        except FileNotFoundError as error:
            return Unreadable(listed.origin, str(error.strerror), listed)
        return RawSample(self._payload(file), listed.label, listed.split, listed.origin, listed)

    def samples(self, location: str) -> Iterator[RawSample | Unreadable]:
        """Read every file."""
        return (self.read(location, listed) for listed in self.listed(location))

    def number_of_inputs(self, location: str) -> int:
        """Count the files; none is read."""
        return sum(1 for _ in self.read_kind.files(self._root(location)))

    def find(self, location: str, origins: Mapping[bytes, str]) -> dict[bytes, bytes]:
        """Read just these files."""
        entries = (SourceEntry(os.fsencode(origin), "", None, "", origin) for origin in origins.values())
        found = (self.read(location, entry) for entry in entries)
        return unchanged((one.payload for one in found if isinstance(one, RawSample)), origins)

    def _payload(self, file: bytes) -> bytes:
        """Return the payload of a file with these bytes."""
        return file

    def _root(self, location: str) -> Path:
        if not location:
            raise DataError(f"data.location is empty; give the folder with the {self.kind.noun}s")
        root = confined(location, field="data.location")
        try:
            mode = root.stat().st_mode
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataError(
                f"data.location: there is no folder {root}; give the folder with the {self.kind.noun}s"
            ) from error
        except OSError as error:
            raise DataError(
                f"data.location: {root} cannot be reached ({error.strerror}); make the folders above it readable, or "
                "give another"
            ) from error
        if not stat.S_ISDIR(mode):
            raise DataError(f"data.location: {root} is a file; give the folder with the {self.kind.noun}s")
        return root
