"""Levels of columns of text: each becomes a value, 0 or 1."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from cl_core.data.sources._csv_files import among_numbers, is_number, not_utf8
from cl_core.data.sources._table_files import Table
from cl_core.data.sources._value_columns import CATEGORIES, COLUMNS, ValueColumn
from cl_core.errors import DataError
from cl_core.modalities.vector import MAX_VALUES

MAX_LEVELS = 1000
"""Levels that are found in a column; more may be given."""

_SEARCHED_ROWS = 1 << 14


def with_levels(columns: Sequence[ValueColumn], tables: Iterable[Table]) -> list[ValueColumn]:
    """Return the columns with all levels: those that are not given are the sorted texts of all files.

    Raises:
        DataError: When a column has too many different texts, or numbers among them in a file without types, or all
            columns together become too many values.
    """
    found: dict[str, set[str]] = {
        column.name: set() for column in columns if column.kind == "text" and not column.levels
    }
    for table in tables if found else ():
        for _, batch in table.batches(dict.fromkeys(found, pa.string()), _SEARCHED_ROWS):
            for name, levels in found.items():
                _add_levels(levels, batch.column(name), name, table)
        for name, levels in found.items():
            _check_levels(levels, name, table)
    complete = [
        replace(column, levels=tuple(sorted(found[column.name]))) if column.name in found else column
        for column in columns
        if found.get(column.name, True)  # Of a text that is missing everywhere there is nothing to mark.
    ]
    if not complete:
        raise DataError(f"{COLUMNS}: there is no text in any row of {', '.join(found)}; name columns with values")
    if (values := sum(len(column.values) for column in complete)) > MAX_VALUES:
        raise DataError(
            f"{COLUMNS}: the columns become {values:,} values, a level of text being one; at most {MAX_VALUES:,} are "
            "read, so name fewer columns"
        )
    return complete


def _add_levels(levels: set[str], texts: pa.Array, name: str, table: Table) -> None:
    try:
        levels.update(filter(None, pc.unique(pc.cast(texts, pa.string())).to_pylist()))
    except UnicodeDecodeError as error:
        raise not_utf8(name, table.file) from error
    if len(levels) > MAX_LEVELS:
        _check_levels(levels, name, table)
        raise DataError(
            f"{COLUMNS}: column {name!r} of {table.file.path} has more than {MAX_LEVELS:,} different texts; name the "
            f"columns of numbers alone, or give the levels of this one in {CATEGORIES}"
        )


def _check_levels(levels: Collection[str], name: str, table: Table) -> None:
    """Refuse a text file's column of numbers that is text only because a word marks missing ones."""
    words = sorted(level for level in levels if not is_number(level))
    if not table.is_typed and words and len(levels) >= 2 * len(words):
        raise among_numbers(name, table.file, words[0])
