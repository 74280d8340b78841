"""Parquet files with images in a column, as exported by a warehouse or the Hugging Face hub."""

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from cl_core.data.sources import RawSample, Unreadable, unchanged
from cl_core.data.sources._labels import LabelColumn
from cl_core.data.sources._parquet_files import (
    TableFile,
    batches_of,
    check_group_column,
    check_image_column,
    check_text_column,
    group_of,
    opened_parquet,
    rows_by_column,
    values_at,
)
from cl_core.data.sources._path_labels import (
    LABEL,
    NAME_PATTERN,
    check_pattern,
    folder_label,
    name_label,
    no_name_matches,
    partition_note,
    trimmed,
)
from cl_core.data.sources._path_splits import PathSplits, folder_meaning, without_split
from cl_core.data.sources._split_options import SplitTables
from cl_core.errors import DataError
from cl_core.modalities import Reason, joined
from cl_core.refs import IMAGE
from cl_core.registry import SOURCES

_BATCH_ROWS = 64
_PAIRS = "image_text"


@SOURCES.register("parquet")
class ParquetFiles(SplitTables):
    """One Parquet file, or all below a folder, in which a column may also be a folder, such as `label=cat`.

    A file is one by its suffix, in any case, or by its first bytes. Without other options, folders such as
    `default/train`, or file names such as `train-00000-of-00001.parquet`, are splits if they tell two apart. Without
    `test` the validation files are the test split, beside it they are trained on. Symbolic links are followed, but not
    in circles; one out of the folders of CL_DATA_ROOTS is refused.
    """

    modalities: ClassVar[tuple[str, ...]] = (IMAGE, _PAIRS)
    of_one_modality: ClassVar[Mapping[str, str]] = {"text_column": _PAIRS}

    image_column: str = Field("image", min_length=1)
    """Column of encoded images: binary, or a struct with a binary field `bytes`."""
    text_column: str = ""
    """Column of the text of each image; `text` if it is left out. Of images with texts only."""
    label_from: Literal["column", "folder", "file_name", "none"] = "column"
    """What names the class: `label_column`; the file's folder, without those of splits; the file's name, by
    `label_pattern`; or nothing."""
    label_column: str = ""
    """Column of class names, text or whole numbers; where the files lack it, their folders of that name, such as
    `kind=cat`. Empty: the folders `label=cat`, or unlabeled."""
    label_pattern: str = Field(NAME_PATTERN)
    """Regular expression with one group, which finds the class in a file's name without its suffix. As it is, that is
    all before a number at the end: cat of cat-00000-of-00001.parquet. Read with `label_from` file_name."""

    @model_validator(mode="after")
    def _one_thing_names_the_class(self) -> Self:
        if self.label_column and self.label_from != "column":
            ignored = f"label_column {self.label_column!r} would not be read with label_from {self.label_from!r}"
            raise ValueError(f"{ignored}; leave one of them out")
        check_pattern(self.label_pattern, self.label_from)
        return self

    def samples(self, location: str) -> Iterator[RawSample | Unreadable]:
        """Yield every row; a row without image bytes becomes unreadable. An empty or missing label is None."""
        files = self._files(location)
        splits = self.splits_of(files, Path(location))
        unnamed = self.label_from == "column" and not self.label_column
        keys = {key for file in files for key in file.partitions} if unnamed else ()
        self._notes[:] = filter(None, [splits.note, partition_note(keys)])
        if self.label_from == "file_name" and not any(self._path_label(file, splits) for file in files):
            raise no_name_matches(self.label_pattern, files[0].name)
        labels: LabelColumn | None = None
        for file in files:
            with opened_parquet(file.path) as opened:
                schema = opened.schema_arrow
                fixed = self._columns_of_path(file, schema)
                if self.label_column:
                    typed = schema if self.label_column not in fixed else pa.schema([(self.label_column, pa.string())])
                    labels = LabelColumn.of(typed, self.label_column, file.path, like=labels)
                    if labels.note not in self._notes:
                        self._notes.append(labels.note)
                yield from self._rows(file, opened, labels, fixed, splits)

    def number_of_inputs(self, location: str) -> int:
        """Return the number of rows in the files' footers."""
        rows = 0
        for file in self._files(location):
            with opened_parquet(file.path) as opened:
                rows += opened.metadata.num_rows
        return rows

    def find(self, location: str, origins: Mapping[bytes, str]) -> dict[bytes, bytes]:
        """Read just the row groups that hold these rows."""
        payloads: dict[bytes, bytes] = {}
        for file in self._files(location):
            named = (origin.rpartition("#") for origin in origins.values())
            # Origins of version 0.1.0 are file names without folders.
            rows = [int(row) for name, _, row in named if name in (file.name, file.path.name) and row.isdecimal()]
            parts = [list(values_at(file.path, name, rows)) if rows else [] for name in self._payload_columns]
            payloads |= unchanged(filter(None, map(_payload, *parts)), origins)
        return payloads

    def _path_label(self, file: TableFile, splits: PathSplits) -> str | None:
        """Return the class that a file's path names; None where it is in a column."""
        no_classes = folder_meaning if self.split_from != "none" else lambda _: ""
        if self.label_from == "folder":
            return folder_label([name for name in file.parts[:-1] if not no_classes(name)])
        if self.label_from == "file_name":
            label = name_label(file.parts[-1], self.label_pattern) or ""
            if self.label_pattern == NAME_PATTERN and (splits.by == "file_name" or self.test_files):
                label = without_split(label)
            return None if no_classes(label) else label or None
        return trimmed(file.partitions.get(LABEL)) if self.label_from == "column" else None

    def _columns_of_path(self, file: TableFile, schema: pa.Schema) -> dict[str, str | None]:
        """Return label, split and group as far as they are folders and no columns of the file; check the columns."""
        partitions = file.partitions
        absent = {self.label_column, self.split_column, self._group_column} - {"", *schema.names}
        fixed = {name: partitions[name] for name in absent if name in partitions}
        self._check_columns(file, schema, fixed)
        note = f"labels are the folders {self.label_column}=..."
        if self.label_column in fixed and note not in self._notes:
            self._notes.append(note)
        return fixed

    def _rows(
        self,
        file: TableFile,
        opened: pq.ParquetFile,
        labels: LabelColumn | None,
        fixed: Mapping[str, str | None],
        splits: PathSplits,
    ) -> Iterator[RawSample | Unreadable]:
        names = dict.fromkeys((*self._payload_columns, self.label_column, self.split_column, self._group_column))
        batches = batches_of(opened, file.path, [name for name in names if name not in ("", *fixed)], _BATCH_ROWS)
        path_split, path_label, prefix = splits.split(file.parts), self._path_label(file, splits), file.name
        for number, values in enumerate(chain.from_iterable(rows_by_column(batch, file.path) for batch in batches)):
            row, origin = {**values, **fixed}, f"{prefix}#{number}"
            parts = [row[name] for name in self._payload_columns]
            payload = _payload(*parts)
            if payload is None:
                is_image = _image(parts[0]) is None
                missing = f"column {self._payload_columns[not is_image]!r} has no {'bytes' if is_image else 'text'}"
                reasons: tuple[Reason, Reason] = ("no_text", "no_image")
                reason = reasons[is_image] if len(parts) > 1 else "unreadable"
                yield Unreadable(origin, f"{missing} in this row", reason=reason)
            else:
                label = labels.label(row[self.label_column], origin) if labels else path_label
                split = path_split or self.split_of_row(row.get(self.split_column), file.path, origin)
                yield RawSample(payload, label, split, origin, group=group_of(row.get(self._group_column)))

    def _check_columns(self, file: TableFile, schema: pa.Schema, fixed: Mapping[str, str | None]) -> None:
        path = file.path
        named = dict(zip(("image_column", "text_column"), self._payload_columns, strict=False))
        named |= {"label_column": self.label_column, "split_column": self.split_column}
        for option, name in named.items():
            if name and name not in (*schema.names, *fixed):
                folders = f", and as folders: {', '.join(file.partitions)}" if file.partitions else ""
                known = f"{', '.join(schema.names)}{folders}"
                raise DataError(f"source_options.{option}: {path} has no column {name!r}; it has: {known}")
            if schema.names.count(name) > 1:
                raise DataError(
                    f"source_options.{option}: {path} has {schema.names.count(name)} columns {name!r}; write it with "
                    "one column of each name"
                )
        if self._group_column and self._group_column not in fixed:
            check_group_column(schema, self._group_column, path)
        check_image_column(schema, self.image_column, path)
        for name in self._payload_columns[1:]:
            check_text_column(schema, name, path)

    @property
    def _payload_columns(self) -> tuple[str, ...]:
        """The columns of images, and of their texts."""
        return (self.image_column, self.text_column or "text") if self._modality == _PAIRS else (self.image_column,)


def _image(image: Any) -> bytes | None:
    return image.get("bytes") if isinstance(image, dict) else image


def _payload(image: Any, *text: Any) -> bytes | None:
    """Return the payload of an image, and of its text if there is one; None where one of them is missing."""
    parts = [_image(image), *(one.encode() if isinstance(one, str) else None for one in text)]
    known = [part for part in parts if part is not None]
    return joined(known) if len(known) == len(parts) else None
