"""Text files of tables: a line of names, and commas or tabs between values."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from cl_core.data.sources._listing import is_lfs_pointer
from cl_core.data.sources._parquet_files import TableFile
from cl_core.errors import DataError

CSV_SUFFIXES = frozenset((".csv", ".tsv", ".tab"))
MISSING = ("", "NA", "NaN", "null")
"""What marks a missing value in text files, as it is or in quotes."""

_TABS = frozenset((".tsv", ".tab"))
# A row, and the line of names, has to fit into a block; what is known of a column's type is from the first.
_BLOCK_BYTES = 1 << 23
_SHOWN = 200
_NOT_CONVERTED = re.compile(r"CSV column #(\d+): .*CSV conversion error to \w+: invalid value '(.*)'", re.DOTALL)
_NOT_UTF8 = re.compile(r"CSV column #(\d+): .*invalid UTF8", re.DOTALL)


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
        self, types: Mapping[str, pa.DataType], rows_at_once: int, rows: Sequence[int] | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the columns as these types; reading ends after the last of these rows."""
        number, end = 0, None if rows is None else max(rows, default=-1)
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
        path, head = self.file.path, head_of(self.file, _BLOCK_BYTES)
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
    """Return whether text is a number, as Python reads it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def head_of(file: TableFile, count: int) -> bytes:
    """Return the first bytes of a file.

    Raises:
        DataError: When it cannot be read.
    """
    try:
        with file.path.open("rb") as opened:
            return opened.read(count)
    except OSError as error:
        raise DataError(
            f"data.location: {file.path} cannot be read ({error.strerror}); make it readable, or move it away"
        ) from error
