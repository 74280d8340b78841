"""Parquet files with images in a column, as exported by a warehouse or the Hugging Face hub."""

import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, PrivateAttr, model_validator

from cl_core.data.path_roots import confined
from cl_core.data.sources import RawSample, Source, Unreadable, unchanged
from cl_core.data.sources._labels import LabelColumn
from cl_core.errors import DataError
from cl_core.registry import SOURCES

_BATCH_ROWS = 64
_LISTED = 10


@SOURCES.register("parquet")
class ParquetFiles(Source):
    """One Parquet file, or all `.parquet` files below a folder."""

    image_column: str = Field("image", min_length=1)
    """Column of encoded images: binary, or a struct with a binary field `bytes`."""
    label_column: str = ""
    """Column of class names, text or whole numbers. Empty: unlabeled."""
    split_column: str = ""
    """Column with the split. Empty: the content's hash decides."""
    test_files: str = ""
    """Pattern of the names of the files that are the test split, such as `test*.parquet`; all others are the training
    split. Empty: file names do not decide."""
    train_value: str = Field("train", title="Training value")
    """Value of the split column for training."""
    test_value: str = "test"
    """Value of the split column for testing."""

    _group_column: str = PrivateAttr("")

    @model_validator(mode="after")
    def _one_thing_decides_the_split(self) -> Self:
        if self.test_files and self.split_column:
            raise ValueError(
                f"test_files {self.test_files!r} and split_column {self.split_column!r} would both decide the split; "
                "leave one of them empty"
            )
        return self

    def fingerprint(self, location: str) -> str:
        """Return path, size and modification time of every file."""
        states = [(path, path.stat()) for path in _files(location)]
        return "\n".join(f"{path} {state.st_size} {state.st_mtime_ns}" for path, state in states)

    def samples(self, location: str) -> Iterator[RawSample | Unreadable]:
        """Yield every row; a row without image bytes becomes unreadable. An empty or missing label is None."""
        files = _files(location)
        if self.test_files and not any(fnmatch(path.name, self.test_files) for path in files):
            raise DataError(
                f"source_options.test_files: no file below {location} is named {self.test_files!r}; there are: "
                f"{', '.join(path.name for path in files[:_LISTED])}"
            )
        labels: LabelColumn | None = None
        for path in files:
            with _opened(path) as file:
                self._check_columns(path, file.schema_arrow)
                if self.label_column:
                    labels = LabelColumn.of(file.schema_arrow, self.label_column, path, like=labels)
                yield from self._rows(path, file, labels)

    def grouped_by(self, column: str) -> Self:
        """Read this column, too: text, numbers or dates."""
        copy = self.model_copy()
        copy._group_column = column
        return copy

    def number_of_inputs(self, location: str) -> int:
        """Return the number of rows in the files' footers."""
        rows = 0
        for path in _files(location):
            with _opened(path) as file:
                rows += file.metadata.num_rows
        return rows

    def find(self, location: str, origins: Mapping[bytes, str]) -> dict[bytes, bytes]:
        """Read just the row groups that hold these rows."""
        payloads: dict[bytes, bytes] = {}
        for path in _files(location):
            named = (origin.rpartition("#") for origin in origins.values())
            rows = [int(row) for name, _, row in named if name == path.name and row.isdecimal()]
            payloads |= unchanged(self._images(path, rows), origins) if rows else {}
        return payloads

    def _images(self, path: Path, rows: list[int]) -> Iterator[bytes]:
        """Yield the encoded images of these rows of a file, as far as it has them."""
        with _opened(path) as file:
            start = 0
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                here = [row - start for row in rows if start <= row < stop]
                if here:
                    column = file.read_row_group(group, columns=[self.image_column])[self.image_column]
                    yield from filter(None, map(_payload, column.take(here).to_pylist()))
                start = stop

    def _rows(self, path: Path, file: pq.ParquetFile, labels: LabelColumn | None) -> Iterator[RawSample | Unreadable]:
        named = (self.image_column, self.label_column, self.split_column, self._group_column)
        columns = list(dict.fromkeys(name for name in named if name))
        batches = file.iter_batches(batch_size=_BATCH_ROWS, columns=columns)
        for number, row in enumerate(chain.from_iterable(_values(batch, path) for batch in batches)):
            origin = f"{path.name}#{number}"
            payload = _payload(row[self.image_column])
            if payload is None:
                yield Unreadable(origin, f"column {self.image_column!r} has no bytes in this row")
            else:
                label = labels.label(row[self.label_column], origin) if labels else None
                split = self._split(row.get(self.split_column), path, origin)
                yield RawSample(payload, label, split, origin, group=_group(row.get(self._group_column)))

    def _split(self, value: Any, path: Path, origin: str) -> str:
        if self.test_files:
            return "test" if fnmatch(path.name, self.test_files) else "train"
        if not self.split_column:
            return ""
        if str(value) == self.train_value:
            return "train"
        if str(value) == self.test_value:
            return "test"
        raise DataError(
            f"{origin}: column {self.split_column!r} is {value!r}; expected {self.train_value!r} or "
            f"{self.test_value!r} (source_options.train_value, source_options.test_value)"
        )

    def _check_columns(self, path: Path, schema: pa.Schema) -> None:
        for option in ("image_column", "label_column", "split_column"):
            name = getattr(self, option)
            if name and name not in schema.names:
                raise DataError(
                    f"source_options.{option}: {path} has no column {name!r}; it has: {', '.join(schema.names)}"
                )
            if schema.names.count(name) > 1:
                raise DataError(
                    f"source_options.{option}: {path} has {schema.names.count(name)} columns {name!r}; write it with "
                    "one column of each name"
                )
        self._check_group_column(path, schema)
        kind = schema.field(self.image_column).type
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            kind = kind.field("bytes").type
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise DataError(
                f"source_options.image_column: column {self.image_column!r} of {path} is {kind}; expected binary, or a "
                "struct with a binary field 'bytes'"
            )

    def _check_group_column(self, path: Path, schema: pa.Schema) -> None:
        name = self._group_column
        if name and schema.names.count(name) != 1:
            has = f"{schema.names.count(name)} columns" if name in schema.names else "no column"
            raise DataError(f"data.group: {path} has {has} {name!r}; it has: {', '.join(schema.names)}")
        if name and pa.types.is_nested(schema.field(name).type):
            raise DataError(
                f"data.group: column {name!r} of {path} is {schema.field(name).type}; expected text, numbers or dates"
            )


def _files(location: str) -> list[Path]:
    if not location:
        raise DataError("data.location is empty; give a Parquet file, or a folder of them")
    root = confined(location, field="data.location")
    try:
        if stat.S_ISREG(root.stat().st_mode):
            return [root]
        # Unlike a glob, which skips folders that it cannot list.
        below = [Path(folder, name) for folder, _, names in os.walk(root, onerror=_refuse) for name in names]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"data.location: there is no file or folder {root}; give a Parquet file, or a folder of them"
        ) from error
    except OSError as error:
        raise DataError(
            f"data.location: {error.filename} cannot be read ({error.strerror}); make it readable, or move it away"
        ) from error
    files = sorted(path for path in below if path.suffix == ".parquet" and path.is_file())
    for path in files:
        confined(path, field="data.location")  # A row cannot be quarantined before its file is opened.
    if not files:
        raise DataError(f"data.location: {root} has no .parquet files at any depth; give the folder that does")
    return files


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file, and refuse one that turns out not to be Parquet."""
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"data.location: {path} cannot be read as Parquet ({error}); export it again") from error


def _group(value: Any) -> str | None:
    """Return the group that a value names; null, NaN and blank text name none."""
    if isinstance(value, bytes):
        value = value.decode(errors="backslashreplace")
    if isinstance(value, float):  # pandas writes whole numbers with gaps so.
        value = int(value) if value.is_integer() else None if math.isnan(value) else value
    return None if value is None else str(value).strip() or None


def _payload(image: Any) -> bytes | None:
    return image.get("bytes") if isinstance(image, dict) else image


def _refuse(error: OSError) -> None:
    raise error


def _values(batch: pa.RecordBatch, path: Path) -> list[dict[str, Any]]:
    """Return the rows of a batch by column name."""
    columns = {}
    for name in batch.schema.names:
        try:
            columns[name] = batch.column(name).to_pylist()
        except UnicodeDecodeError as error:
            raise DataError(
                f"data.location: column {name!r} of {path} has text that is not UTF-8 ({error.reason}); export it again"
            ) from error
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
