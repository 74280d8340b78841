"""Tables of numbers and categories: Parquet, CSV and TSV files, of which each row becomes a vector."""

from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar, Self

import pyarrow as pa
from pydantic import Field, PrivateAttr, field_validator, model_validator

from cl_core.data.sources import RawSample, Unreadable, unchanged
from cl_core.data.sources._column_vectors import ColumnVectors, ListVectors
from cl_core.data.sources._csv_files import CSV_SUFFIXES
from cl_core.data.sources._labels import LabelColumn
from cl_core.data.sources._levels import with_levels
from cl_core.data.sources._parquet_files import check_group_column, group_of, rows_by_column
from cl_core.data.sources._split_options import SplitTables
from cl_core.data.sources._table_files import Table, table_of_file
from cl_core.data.sources._value_columns import (
    ValueColumn,
    check_names,
    index_columns,
    selected_names,
    value_columns,
)
from cl_core.data.sources._vectors import LOST_DIGITS
from cl_core.registry import SOURCES

_NAMED = 5


@SOURCES.register("table")
class TableFiles(SplitTables):
    """One Parquet, CSV or TSV file, or all below a folder; each row is a sample, its columns are the values.

    Numbers stay as they are, booleans become 0 and 1, a column of text becomes a column of 0 and 1 for each of its
    texts. Null, NaN and, in text files, NA and nothing are missing values. A column of lists of numbers, such as an
    embedding, may be the only one. Folders such as `train` and `test`, or file names that begin so, are splits if they
    tell two apart. Without `test` the validation files are the test split, beside it they are trained on.
    """

    modalities: ClassVar[tuple[str, ...]] = ("vector",)
    other_suffixes: ClassVar[Set[str]] = CSV_SUFFIXES
    expected_files: ClassVar[str] = "a Parquet, CSV or TSV file"

    columns: tuple[str, ...] = Field(("*",), min_length=1)
    """Columns that are values: names, or patterns such as `pixel_*`. Those after `!`, such as `!id`, are left out.
    They stay in the order of the file. `*` is all but those of label, split and group, and an index of pandas."""
    label_column: str = ""
    """Column of class names, text or whole numbers. Empty: unlabeled."""
    categories: dict[str, list[str]] = Field({})
    """Levels of columns of text, such as {"color": ["red", "blue"]}: each becomes a column of 0 and 1, and any other
    text is 0 in all of them. Without an entry they are all texts in the files, sorted, at most 1,000."""
    _vectors: ColumnVectors | ListVectors | None = PrivateAttr(None)

    @field_validator("categories")
    @classmethod
    def _levels_are_different_texts(cls, categories: dict[str, list[str]]) -> dict[str, list[str]]:
        for name, levels in categories.items():
            if not levels or "" in levels or len(set(levels)) < len(levels):
                raise ValueError(f"the levels of {name!r} are {levels}; wanted one or more different texts, none empty")
        return categories

    @model_validator(mode="after")
    def _labels_and_splits_are_no_values(self) -> Self:
        for option in ("label_column", "split_column"):
            if (name := getattr(self, option)) and name in self.columns:
                raise ValueError(f"columns has {name!r}, which is the {option}, and no value; leave one of them out")
        return self

    def samples(self, location: str) -> Iterator[RawSample | Unreadable]:
        """Yield every row; of a column of lists, a row of another length than the first becomes unreadable."""
        files = self._files(location)
        splits = self.splits_of(files, Path(location))
        tables = list(map(table_of_file, files))
        columns = self._value_columns(tables)
        self._notes[:] = filter(None, [splits.note, _index_note(tables[0], columns), _levels_note(columns)])
        self._vectors = vectors = _vectors_of(columns)
        labels: LabelColumn | None = None
        for table in tables:
            if self.label_column:
                schema = table.schema([self.label_column], [self.label_column])
                labels = LabelColumn.of(schema, self.label_column, table.file.path, like=labels)
                if labels.note not in self._notes:
                    self._notes.append(labels.note)
            yield from self._rows(table, vectors, labels, splits.split(table.file.parts))

    def _rows(
        self, table: Table, vectors: ColumnVectors | ListVectors, labels: LabelColumn | None, path_split: str
    ) -> Iterator[RawSample | Unreadable]:
        path, name = table.file.path, table.file.name
        # Looked up once, since a private attribute of a model is slow to read.
        label_column, split_column, group_column = self.label_column, self.split_column, self._group_column
        split = path_split or ("" if split_column else self.split_of_row(None, path, name))
        named = list(self._columns_beside_values)
        types = {**dict.fromkeys(named, pa.string()), **vectors.types}
        for start, batch in table.batches(types, vectors.rows_at_once):
            others = rows_by_column(batch.select(named), path) if named else repeat({}, len(batch))
            for number, (payload, row) in enumerate(zip(vectors.payloads(batch), others, strict=True), start):
                origin = f"{name}#{number}"
                if isinstance(payload, str):
                    yield Unreadable(origin, payload)
                    continue
                label = labels.label(row[label_column], origin) if labels else None
                group = group_of(row[group_column]) if group_column else None
                if split_column:
                    split = self.split_of_row(row[split_column], path, origin)
                yield RawSample(payload, label, split, origin, group=group)

    def note(self, location: str) -> str:
        """Return how splits and columns were read when the files were last read."""
        lost = self._vectors is not None and self._vectors.lost_digits
        return "; ".join(filter(None, [super().note(location), LOST_DIGITS if lost else ""]))

    def content(self) -> dict[str, Any]:
        """Return the names of the values and, where a column has several, how many each column has."""
        return self._vectors.content if self._vectors else {}

    def number_of_inputs(self, location: str) -> int:
        """Return the number of rows: of Parquet from the footers; rows of text are counted."""
        return sum(table_of_file(file).rows for file in self._files(location))

    def find(self, location: str, origins: Mapping[bytes, str]) -> dict[bytes, bytes]:
        """Read just the row groups that hold these rows; of text all rows before them."""
        payloads: dict[bytes, bytes] = {}
        tables = list(map(table_of_file, self._files(location)))
        vectors = _vectors_of(self._value_columns(tables))
        for table in tables:
            named = (origin.rpartition("#") for origin in origins.values())
            rows = sorted(int(row) for name, _, row in named if name == table.file.name and row.isdecimal())
            if rows:
                payloads |= unchanged(_payloads_at(table, vectors, rows), origins)
        return payloads

    @property
    def _columns_beside_values(self) -> dict[str, str]:
        """Options that name columns which are no values, by column."""
        return self.columns_beside(self.label_column)

    def _value_columns(self, tables: Sequence[Table]) -> list[ValueColumn]:
        """Return the columns of values; check those of all files.

        Raises:
            DataError: When a column is missing, differs between files, or does not hold values.
        """
        others = {self.label_column, self.split_column} - {""}
        selected = {}
        for table in tables:
            check_names(table, self._columns_beside_values)
            if group := self._group_column:
                check_group_column(table.schema([group], [group]), group, table.file.path)
            selected[table] = selected_names(table, self.columns, others=others, groups={self._group_column} - {""})
        return with_levels(value_columns(tables, selected, self.categories), tables)


def _vectors_of(columns: Sequence[ValueColumn]) -> ColumnVectors | ListVectors:
    return ListVectors(columns[0].name) if columns[0].kind == "list" else ColumnVectors(columns)


def _payloads_at(table: Table, vectors: ColumnVectors | ListVectors, rows: Sequence[int]) -> Iterator[bytes]:
    """Yield the payloads of these rows, as far as the file has them."""
    for start, batch in table.batches(vectors.types, vectors.rows_at_once, rows):
        here = [row - start for row in rows if start <= row < start + len(batch)]
        if here:
            payloads = vectors.payloads(batch.take(pa.array(here)))
            yield from (payload for payload in payloads if isinstance(payload, bytes))


def _index_note(table: Table, columns: Sequence[ValueColumn]) -> str:
    names = index_columns(table, [column.name for column in columns])
    return f"left out as an index of pandas: {', '.join(map(repr, names))}" if names else ""


def _levels_note(columns: Sequence[ValueColumn]) -> str:
    texts = [f"{column.name} ({len(column.levels):,})" for column in columns if column.levels]
    more = f" and {len(texts) - _NAMED:,} more" if len(texts) > _NAMED else ""
    return f"columns of text became columns of 0 and 1: {', '.join(texts[:_NAMED])}{more}" if texts else ""
