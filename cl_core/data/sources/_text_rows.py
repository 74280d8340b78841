"""Texts in files: a line each, or a row each of a table or of JSON lines, with other columns beside it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import types

from cl_core.data.sources._csv_files import CSV_SUFFIXES, head_of
from cl_core.data.sources._parquet_files import PARQUET_MAGIC, PARQUET_SUFFIXES, TableFile, rows_by_column
from cl_core.data.sources._table_files import Table, table_of_file
from cl_core.errors import DataError
from cl_core.modalities._text_payloads import BYTE_ORDER_MARK, MAX_BYTES

JSON_SUFFIXES = frozenset((".jsonl", ".ndjson"))
LINE_SUFFIXES = frozenset((".txt",))
TABLE_SUFFIXES = CSV_SUFFIXES | JSON_SUFFIXES
TEXT_SUFFIXES = TABLE_SUFFIXES | LINE_SUFFIXES

Row = Mapping[str, Any]
"""Values by column; the texts are bytes."""

# A longer line of JSON is not read: a text of at most MAX_BYTES may be six times as long where it is escaped.
_MOST_JSON = 8 * MAX_BYTES
_ROWS_AT_ONCE = 4096
_TEXT = (types.is_string, types.is_large_string, types.is_string_view)
_BYTES = (types.is_binary, types.is_large_binary, types.is_binary_view)


def has_columns(file: TableFile) -> bool:
    """Return whether a file is a table or JSON lines; else each of its lines is a text."""
    suffix = file.path.suffix.lower()
    return suffix in JSON_SUFFIXES or _is_table(file, suffix)


def text_schema(file: TableFile, column: str, option: str) -> pa.Schema:
    """Return what a column of a file holds; of files that are not Parquet it is text.

    Raises:
        DataError: When the file has no such column, as far as that is known before it is read.
    """
    suffix = file.path.suffix.lower()
    if suffix in JSON_SUFFIXES:
        return pa.schema([(column, pa.string())])
    table = table_of_file(file)
    if table.names.count(column) != 1:
        raise DataError(
            f"{option}: {file.path} has {table.names.count(column) or 'no'} columns {column!r}; it has: "
            f"{', '.join(table.names)}"
        )
    return table.schema([column], [column])


def text_rows(file: TableFile, texts: Mapping[str, str], others: Sequence[str]) -> Iterator[tuple[int, Row | str]]:
    """Yield the number of each row, from 0, and its values; a sentence in place of a row that cannot be read.

    Args:
        file: A table, JSON lines, or lines.
        texts: The option that names each column of texts, by column; of lines there is one.
        others: Columns that are read beside them.

    Raises:
        DataError: When the file cannot be read, or a column does not hold texts.
    """
    suffix = file.path.suffix.lower()
    if suffix in JSON_SUFFIXES:
        yield from _json_rows(file, list(texts), others)
    elif _is_table(file, suffix):
        yield from _table_rows(table_of_file(file), texts, others)
    else:
        (text,) = texts
        # A blank line is between texts.
        yield from ((number, {text: line}) for number, line in _lines(file, MAX_BYTES) if line.strip())


def _is_table(file: TableFile, suffix: str) -> bool:
    if suffix in LINE_SUFFIXES:
        return False
    return suffix in CSV_SUFFIXES | PARQUET_SUFFIXES or head_of(file, len(PARQUET_MAGIC)) == PARQUET_MAGIC


def _table_rows(table: Table, texts: Mapping[str, str], others: Sequence[str]) -> Iterator[tuple[int, Row]]:
    read_as = {**dict.fromkeys(others, pa.string()), **dict.fromkeys(texts, pa.binary())}
    for start, batch in table.batches(read_as, _ROWS_AT_ONCE):
        columns = [_as_bytes(batch.column(name), name, table.file, option) for name, option in texts.items()]
        beside = rows_by_column(batch.select(list(others)), table.file.path) if others else repeat({}, len(batch))
        for number, (row, *values) in enumerate(zip(beside, *columns, strict=True), start):
            yield number, {**row, **dict(zip(texts, values, strict=True))}


def _as_bytes(column: pa.Array, name: str, file: TableFile, option: str) -> list[bytes | None]:
    """Return the texts of a column, which may not be UTF-8; an option names it."""
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if any(test(column.type) for test in _TEXT):
        column = column.cast(pa.large_binary())
    elif types.is_null(column.type):
        column = column.cast(pa.binary())
    if not any(test(column.type) for test in _BYTES):
        raise DataError(f"{option}: column {name!r} of {file.path} is {column.type}; expected text")
    values: list[bytes | None] = column.to_pylist()
    return values


def _json_rows(file: TableFile, texts: Sequence[str], others: Sequence[str]) -> Iterator[tuple[int, Row | str]]:
    for number, line in _lines(file, _MOST_JSON):
        if not line.strip():
            continue
        row: Row | str
        try:
            values = json.loads(line)
            row = _json_row(values, texts, others) if isinstance(values, dict) else "the line holds no JSON object"
        except (ValueError, RecursionError) as error:
            row = f"the line is not JSON ({error})"
        yield number, row


def _json_row(values: dict[str, Any], texts: Sequence[str], others: Sequence[str]) -> Row | str:
    found = {name: values.get(name) for name in texts}
    if wrong := next((name for name, of in found.items() if not isinstance(of, str | None)), None):
        return f"{wrong!r} is {type(found[wrong]).__name__}; expected text"
    row = {name: values.get(name) for name in others}
    if nested := next((name for name, of in row.items() if isinstance(of, list | dict)), None):
        return f"{nested!r} is a list or an object; expected text or a number"
    as_text = {name: of if of is None else str(of) for name, of in row.items()}
    # Half of a surrogate pair, which JSON can write, is not UTF-8, and is rejected as that.
    return as_text | {name: of if of is None else of.encode(errors="surrogatepass") for name, of in found.items()}


def _lines(file: TableFile, most: int) -> Iterator[tuple[int, bytes]]:
    """Yield the number of each line, from 0, and its bytes; of one with more than `most` no more than one above."""
    with _opened(file) as opened:
        number = 0
        while line := opened.readline(most + 1):
            rest = line
            while len(rest) > most and not rest.endswith(b"\n"):  # Memory is bounded, whatever a line is.
                rest = opened.readline(most + 1)
            yield number, (line.removeprefix(BYTE_ORDER_MARK) if number == 0 else line).rstrip(b"\r\n")
            number += 1


@contextmanager
def _opened(file: TableFile) -> Iterator[BinaryIO]:
    try:
        with file.path.open("rb") as opened:
            yield opened
    except OSError as error:
        raise DataError(
            f"data.location: {file.path} cannot be read ({error.strerror}); make it readable, or move it away"
        ) from error
