"""Images and their captions, which a table names: rows of CSV, TSV, JSON lines or Parquet with a file and a text."""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Set
from pathlib import Path, PurePosixPath
from typing import ClassVar, Self

from pydantic import Field, PrivateAttr, model_validator

from cl_core.data.path_roots import confined
from cl_core.data.sources import RawSample, Unreadable
from cl_core.data.sources._image_files import IMAGE_FILES
from cl_core.data.sources._listing import OUTSIDE, fingerprint_of, read_file, text_of
from cl_core.data.sources._parquet_files import TableFile
from cl_core.data.sources._text_rows import TABLE_SUFFIXES, text_rows
from cl_core.data.sources._text_tables import TextTables
from cl_core.errors import InputError
from cl_core.modalities import Reason, Rejected, joined
from cl_core.registry import SOURCES


@SOURCES.register("captions")
class Captions(TextTables):
    """A table of captions, or all below a folder: each row names an image file and has a text.

    A file is relative to the folder of its table. An image may be in several rows, and is then a sample with each of
    its texts. Images below the folder that no row names are quarantined as `no_text`, rows whose image is missing as
    `no_image`. Folders and file names of tables are splits as for `texts`; or a column is.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image_text",)
    other_suffixes: ClassVar[Set[str]] = TABLE_SUFFIXES
    expected_files: ClassVar[str] = "a table of captions (.csv, .tsv, .jsonl or .parquet)"

    file_column: str = Field("file", min_length=1)
    """Column of the paths of the images."""
    text_column: str = Field("caption", min_length=1)
    """Column of the texts."""

    _named: set[bytes] = PrivateAttr(default_factory=set)

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        columns = [self.file_column, self.text_column, *filter(None, (self.label_column, self.split_column))]
        if twice := next((name for name in columns if columns.count(name) > 1), None):
            raise ValueError(f"two options name the column {twice!r}; give each its own, or leave one out")
        return self

    @property
    def text_columns(self) -> dict[str, str]:
        """The columns of files and texts."""
        return {self.file_column: "source_options.file_column", self.text_column: "source_options.text_column"}

    def reason_without(self, column: str) -> Reason:
        """Return which of both is missing."""
        return "no_image" if column == self.file_column else "no_text"

    def fingerprint(self, location: str) -> str:
        """Return a digest of the path and state of every table, and of the images: all below the folder, or named."""
        root = confined(location, field="data.location")
        images = (path for _, path in IMAGE_FILES.files(root)) if root.is_dir() else self._named_by(location)
        return f"{super().fingerprint(location)} {fingerprint_of(images)}"

    def samples(self, location: str) -> Iterator[RawSample | Unreadable]:
        """Yield every row with its image, then every image below the folder that no row names."""
        self._named.clear()
        yield from super().samples(location)
        root = confined(location, field="data.location")
        # Of one table, the folder may hold other tables' images, and much else.
        for parts, path in IMAGE_FILES.files(root) if root.is_dir() else ():
            if _key(path) not in self._named:
                yield Unreadable(text_of(parts), "no row of a table names this image", reason="no_text")

    def payload(self, file: TableFile, texts: list[bytes]) -> bytes:
        """Return the image that a row names, with its text; see `TextTables`."""
        name, text = texts
        path = _named(file, name)
        self._named.add(_key(path))
        try:
            return joined((read_file(path, most_bytes=IMAGE_FILES.most_bytes), text))
        except FileNotFoundError as error:
            shown = text_of([name.decode(errors="surrogateescape")])
            raise Rejected("no_image", f"there is no file {shown!r} in the folder of the table") from error

    def _named_by(self, location: str) -> Iterator[Path]:
        for file in self._files(location):
            self._check_columns(file)
            for _, row in text_rows(file, self.text_columns, []):
                if not isinstance(row, str) and row[self.file_column] is not None:
                    with contextlib.suppress(Rejected):
                        yield _named(file, row[self.file_column])


def _named(file: TableFile, name: bytes) -> Path:
    """Return the path that a row names.

    Raises:
        Rejected: When it is outside the folder of the table.
    """
    named = PurePosixPath(name.decode(errors="surrogateescape"))
    if named.is_absolute() or ".." in named.parts:
        raise Rejected("no_image", f"{text_of([str(named)])!r} is outside the folder of the table")
    path = file.path.parent / named
    try:
        confined(path, field="data.location")  # A folder on the way may be a link.
    except InputError as error:
        raise Rejected("unreadable", OUTSIDE) from error
    return path


def _key(path: Path) -> bytes:
    """Return a path in few bytes."""
    return hashlib.sha256(os.fsencode(path)).digest()[:8]
