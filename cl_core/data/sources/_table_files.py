"""Files of tables, read in batches of some columns: Parquet, and text with commas or tabs between values."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv

from cl_core.data.sources._listing import is_lfs_pointer
from cl_core.data.sources._parquet_files import PARQUET_MAGIC, PARQUET_SUFFIXES, TableFile, opened_parquet
from cl_core.errors import DataError

CSV_SUFFIXES = frozenset((".csv", ".tsv", ".tab"))
MISSING = ("", "NA", "NaN", "null")
"""What stands for a missing value in text files, as it is or in quotes."""

_TABS = frozenset((".tsv", ".tab"))
# A row, and the line of names, has to fit into a block; what is known of a column's type is from the first.
_BLOCK_BYTES = 1 << 23
_SHOWN = 200
_NOT_CONVERTED = re.compile(r"CSV column #(\d+): .*CSV conversion error to \w+: invalid value '(.*)'", re.DOTALL)
_NOT_UTF8 = re.compile(r"CSV column #(\d+): .*invalid UTF8", re.DOTALL)


class Table(Protocol):
    """A file of a table."""

    file: TableFile

    @property
    def names(self) -> list[str]:
        """Return the names of all columns, in the order of the file."""

    @property
    def rows(self) -> int:
        """Return the number of rows."""

    @property
    def is_typed(self) -> bool:
        """Tell whether the file itself says what its columns hold."""

    def schema(self, columns: Sequence[str], texts: Collection[str]) -> pa.Schema:
        """Return what these columns hold, as the file says or its first rows show; `texts` are read as text."""

    def batches(
        self, types: Mapping[str, pa.DataType], rows_at_once: int, wanted: Sequence[int] | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield rows of some columns, each batch with the number of its first row.

        Args:
            types: What the columns are read as, where the file does not say.
            rows_at_once: Rows of a batch, at most.
            wanted: Numbers of rows: where batches hold none of them they may be left out. None for all.
        """


def table_of_file(file: TableFile) -> Table:
    """Return a file as a table: Parquet by its suffix or its first bytes, text else.

    Raises:
        DataError: When it cannot be read.
    """
    suffix = file.path.suffix.lower()
    is_parquet = suffix in PARQUET_SUFFIXES or _head(file, len(PARQUET_MAGIC)) == PARQUET_MAGIC
    return ParquetTable(file) if is_parquet else CsvTable(file)


class ParquetTable:
    """A Parquet file."""

    is_typed = True

    def __init__(self, file: TableFile) -> None:
        self.file = file

    @cached_property
    def _schema(self) -> pa.Schema:
        with opened_parquet(self.file.path) as opened:
            return opened.schema_arrow

    @cached_property
    def names(self) -> list[str]:
        """Return the names of all columns."""
        names: list[str] = self._schema.names
        return names

    @property
    def rows(self) -> int:
        """Return the number of rows in the footer."""
        with opened_parquet(self.file.path) as opened:
            return int(opened.metadata.num_rows)

    def schema(self, columns: Sequence[str], texts: Collection[str]) -> pa.Schema:
        """Return what the file says."""
        del texts
        return pa.schema([self._schema.field(name) for name in columns], self._schema.metadata)

    def batches(
        self, types: Mapping[str, pa.DataType], rows_at_once: int, wanted: Sequence[int] | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the columns as they are; row groups that hold none of the wanted rows are not read."""
        with opened_parquet(self.file.path) as opened:
            for number, groups in _row_groups(opened.metadata, wanted):
                for batch in opened.iter_batches(rows_at_once, row_groups=groups, columns=list(types)):
                    yield number, batch
                    number += len(batch)


def _row_groups(metadata: Any, wanted: Sequence[int] | None) -> Iterator[tuple[int, list[int]]]:
    """Yield the row groups that hold wanted rows, each with the number of its first row; all at once for None."""
    if wanted is None:
        yield 0, list(range(metadata.num_row_groups))
        return
    start = 0
    for group in range(metadata.num_row_groups):
        stop = start + metadata.row_group(group).num_rows
        if any(start <= row < stop for row in wanted):
            yield start, [group]
        start = stop


class CsvTable:
    """A text file with a line of names, and commas or tabs between values, in UTF-8."""

    is_typed = False

    def __init__(self, file: TableFile) -> None:
        self.file = file

    @cached_property
    def names(self) -> list[str]:
        """Return the names in the first line."""
        return self._layout[1]

    @cached_property
    def rows(self) -> int:
        """Count the rows."""
        return sum(len(batch) for _, batch in self.batches({self.names[0]: pa.binary()}, _BLOCK_BYTES))

    def schema(self, columns: Sequence[str], texts: Collection[str]) -> pa.Schema:
        """Return what pyarrow infers from the first block."""
        inferred = {}
        if shown := [name for name in columns if name not in texts]:
            with self._opened(shown, {}) as reader:
                inferred = {field.name: field.type for field in reader.schema}
        return pa.schema([(name, inferred.get(name, pa.string())) for name in columns])

    def batches(
        self, types: Mapping[str, pa.DataType], rows_at_once: int, wanted: Sequence[int] | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the columns as these types; reading ends after the last wanted row."""
        number, end = 0, None if wanted is None else max(wanted, default=-1)
        with self._opened(list(types), types) as reader:
            for block in reader:
                for start in range(0, len(block), rows_at_once):
                    batch = block.slice(start, rows_at_once)
                    yield number, batch
                    number += len(batch)
                if end is not None and number > end:
                    return

    @contextmanager
    def _opened(self, columns: Sequence[str], types: Mapping[str, pa.DataType]) -> Iterator[Any]:
        path, (delimiter, names) = self.file.path, self._layout
        convert = pa_csv.ConvertOptions(
            include_columns=columns, column_types=types, null_values=MISSING, strings_can_be_null=True
        )
        parse = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        try:
            with (
                path.open("rb") as file,
                pa_csv.open_csv(
                    file,
                    read_options=pa_csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
                    parse_options=parse,
                    convert_options=convert,
                ) as reader,
            ):
                yield reader
        except (pa.ArrowException, OSError) as error:
            raise self._explained(str(error), names) from error

    def _explained(self, problem: str, names: Sequence[str]) -> DataError:
        path = self.file.path
        if found := _NOT_CONVERTED.search(problem):
            return among_numbers(names[int(found[1])], self.file, found[2])
        if found := _NOT_UTF8.search(problem):
            return not_utf8(names[int(found[1])], self.file)
        shown = " ".join(problem.split())[:_SHOWN]
        return DataError(f"data.location: {path} cannot be read as text with commas or tabs ({shown}); export it again")

    @cached_property
    def _layout(self) -> tuple[str, list[str]]:
        """Return what is between values, and the names in the first line.

        Raises:
            DataError: When the file is no text with a line of names.
        """
        path, head = self.file.path, _head(self.file, _BLOCK_BYTES)
        if is_lfs_pointer(path):
            raise DataError(f"data.location: {path} is a pointer of Git LFS; run `git lfs pull`")
        if not head.strip():
            raise DataError(f"data.location: {path} is empty; export it again, with a line of names")
        text = head.decode("utf-8-sig", errors="surrogateescape")
        first = next(line for line in io.StringIO(text, newline="") if line.strip())
        if "\0" in first or not _is_unicode(first):
            raise DataError(
                f"data.location: {path} is neither Parquet nor text in UTF-8; unpack it if it is compressed, or export "
                "it as Parquet, or as CSV in UTF-8"
            )
        tabs = path.suffix.lower() in _TABS or ("\t" in first and "," not in first)
        delimiter = "\t" if tabs else ","
        try:
            names = next(filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)))
        except csv.Error as error:
            raise DataError(f"data.location: the first line of {path} is no line of names ({error})") from error
        if len(names) == 1 and ";" in names[0]:
            raise DataError(
                f"data.location: {path} has semicolons between its values; export it with commas or tabs, and points "
                "in its numbers, or as Parquet"
            )
        if all(map(is_number, names)) and not all(name.isdecimal() for name in names):
            raise DataError(
                f"data.location: the first line of {path} holds numbers; write a line with the names of the columns "
                "above it"
            )
        return delimiter, names


def among_numbers(column: str, file: TableFile, text: str) -> DataError:
    """Return the error of a column of numbers, or of booleans, with text."""
    return DataError(
        f"data.location: column {column!r} of {file.path} holds {text[:_SHOWN]!r} among numbers; leave it empty where "
        "a value is missing, leave the column out of source_options.columns, or give its levels in "
        "source_options.categories"
    )


def not_utf8(column: str, file: TableFile) -> DataError:
    """Return the error of a column with text in another encoding."""
    return DataError(
        f"data.location: column {column!r} of {file.path} has text that is not UTF-8; export it again in UTF-8"
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # It has bytes that could not be decoded.
        return False
    return True


def is_number(text: str) -> bool:
    """Tell whether text is a number, as Python reads it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _head(file: TableFile, count: int) -> bytes:
    try:
        with file.path.open("rb") as opened:
            return opened.read(count)
    except OSError as error:
        raise DataError(
            f"data.location: {file.path} cannot be read ({error.strerror}); make it readable, or move it away"
        ) from error
