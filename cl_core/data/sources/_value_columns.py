"""Columns of tables as vectors: which columns are values, what they hold, and a batch of them as rows of float32."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import translate

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from cl_core.data.sources._table_files import Table, among_numbers, is_number, not_utf8
from cl_core.data.sources._vectors import EXACT, payloads_of, rows_at_once
from cl_core.errors import DataError
from cl_core.modalities.vector import MAX_VALUES

MAX_LEVELS = 1000
"""Levels that are found in a column; more may be given."""

_COLUMNS = "source_options.columns"
_CATEGORIES = "source_options.categories"
_LISTED = 10
_SEARCHED_ROWS = 1 << 14
_LISTS_AT_ONCE = 256  # Their length is known when the first is read.
_WITHOUT = "!"
_INDEX = "__index_level_"  # So pandas begins the name of an index in Parquet; in text it has none.
_KINDS = {
    "number": (types.is_integer, types.is_floating, types.is_decimal),
    "boolean": (types.is_boolean,),
    "text": (types.is_string, types.is_large_string, types.is_string_view),
    "empty": (types.is_null,),
}
_LISTS = (types.is_list, types.is_large_list, types.is_fixed_size_list)
# What a column is read as where the file does not say; of an empty first block later ones may hold numbers.
_READ_AS = {"number": pa.float64(), "boolean": pa.bool_(), "text": pa.string(), "empty": pa.float64()}


@dataclass(frozen=True)
class ValueColumn:
    """A column of values.

    Args:
        name: Its name.
        kind: `number`, `boolean`, `text`, `empty` or `list`.
        is_whole: Whether its numbers are whole, by its type.
        levels: Texts that become a column of 0 and 1 each; empty for other kinds.
    """

    name: str
    kind: str
    is_whole: bool = False
    levels: tuple[str, ...] = ()

    @property
    def values(self) -> list[str]:
        """Return the names of the values that it becomes."""
        return [f"{self.name}={level}" for level in self.levels] or [self.name]

    @property
    def read_as(self) -> pa.DataType:
        """Return what it is read as where the file does not say."""
        return _READ_AS.get(self.kind, pa.null())


def selected_names(
    table: Table, patterns: Sequence[str], *, others: Collection[str], groups: Collection[str]
) -> list[str]:
    """Return the names of the columns of values, in the order of the file.

    Args:
        table: A file.
        patterns: Names, or patterns of names; those after `!` are left out, of all columns if the first one is.
        others: Columns that are labels or splits: they are no values.
        groups: Columns that are groups: they are values if they are named.

    Raises:
        DataError: When one of the patterns names no column, too many are left, none, or two of one name.
    """
    names, path = table.names, table.file.path
    present = set(names)
    chosen: set[str] = set(present if patterns[0].startswith(_WITHOUT) else ())
    for pattern in patterns:
        without = pattern.startswith(_WITHOUT)
        sought = pattern.removeprefix(_WITHOUT) if without else pattern
        found = {sought} & present or _matching(sought, present)
        if not found:
            raise DataError(f"{_COLUMNS}: {path} has no column {sought!r}; it has: {listed(names)}")
        (chosen.difference_update if without else chosen.update)(found)
    indexes = {name for name in chosen if not name or name.startswith(_INDEX)}
    chosen -= {*others, *({*groups, *indexes} - set(patterns))}
    if len(chosen) > MAX_VALUES:
        raise DataError(
            f"{_COLUMNS}: {path} has {len(chosen):,} columns of values; at most {MAX_VALUES:,} are read, so name fewer"
        )
    if not chosen:
        raise DataError(f"{_COLUMNS}: of {path} no column is left for values; it has: {listed(names)}")
    selected = [name for name in names if name in chosen]
    check_names(table, dict.fromkeys(chosen, _COLUMNS))
    return selected


def index_columns(table: Table, selected: Iterable[str]) -> list[str]:
    """Return the columns that are the index of pandas, and no values."""
    return sorted({name for name in table.names if not name or name.startswith(_INDEX)} - set(selected))


def _matching(pattern: str, names: set[str]) -> set[str]:
    if pattern == "*":  # Quick for a million names.
        return names
    return set(filter(re.compile(translate(pattern)).match, names))


def check_names(table: Table, columns: Mapping[str, str]) -> None:
    """Check that a file has one column of each name; the values are the options that name them.

    Raises:
        DataError: When a column is missing, or there are several.
    """
    path, counts = table.file.path, Counter(name for name in table.names if name in columns)
    for name, field in columns.items():
        if name not in counts:
            raise DataError(f"{field}: {path} has no column {name!r}; it has: {listed(table.names)}")
        if counts[name] > 1:
            raise DataError(
                f"{field}: {path} has {counts[name]} columns {name!r}; write it with one column of each name, and a "
                "first line of names if it is text"
            )


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many there are more."""
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def value_columns(
    tables: Sequence[Table], selected: Mapping[Table, Sequence[str]], categories: Mapping[str, Sequence[str]]
) -> list[ValueColumn]:
    """Return the columns of values, in the order of the first file, without the levels that have to be found.

    Raises:
        DataError: When files differ, or a column does not hold values.
    """
    first = tables[0]
    order = selected[first]
    if unknown := [name for name in categories if name not in set(order)]:
        raise DataError(
            f"{_CATEGORIES}: {unknown[0]!r} is no column of values of {first.file.path}; those are: {listed(order)}"
        )
    columns: dict[str, ValueColumn] = {}
    for table in tables:
        _check_same_names(first, order, table, selected[table])
        for field in table.schema(order, categories):
            name = field.name
            column = _column(name, field.type, table, len(order) == 1, tuple(categories.get(name, ())))
            known = columns.setdefault(name, column)
            if "empty" in (known.kind, column.kind):
                columns[name] = column if known.kind == "empty" else known
            elif known.kind != column.kind:
                raise DataError(
                    f"data.location: column {name!r} of {table.file.path} is {column.kind}, and {known.kind} in a file "
                    "before it; write the files alike, or leave the column out of source_options.columns"
                )
            elif column.is_whole:
                columns[name] = column
    return list(columns.values())


def _check_same_names(first: Table, order: Sequence[str], table: Table, names: Sequence[str]) -> None:
    if odd := set(order) ^ set(names):
        name = next(name for name in (*order, *names) if name in odd)
        has, lacks = (first, table) if name in set(order) else (table, first)
        raise DataError(
            f"data.location: {has.file.path} has the column {name!r}, which {lacks.file.path} lacks; write the files "
            "alike, or name common columns in source_options.columns"
        )


def _column(name: str, type_: pa.DataType, table: Table, alone: bool, levels: tuple[str, ...]) -> ValueColumn:
    kind, is_whole = _kind(type_), types.is_integer(type_)
    if levels:
        if kind not in ("text", "empty") and not is_whole:
            raise DataError(
                f"{_CATEGORIES}: column {name!r} of {table.file.path} is {type_}; levels are of text or whole numbers"
            )
        return ValueColumn(name, "text", levels=levels)
    if any(test(type_) for test in _LISTS) and _kind(type_.value_type) in ("number", "boolean"):
        if not alone:
            raise DataError(
                f"{_COLUMNS}: column {name!r} of {table.file.path} is {type_}, a list, beside other columns; name it "
                "alone, or leave it out"
            )
        return ValueColumn(name, "list")
    if not kind and types.is_binary(type_) and not table.is_typed:
        raise not_utf8(name, table.file)
    if not kind:
        raise DataError(
            f"{_COLUMNS}: column {name!r} of {table.file.path} is {type_}; wanted numbers, booleans or text, so leave "
            f"it out, for example with {_WITHOUT + name!r} after '*'"
        )
    return ValueColumn(name, kind, is_whole)


def _kind(type_: pa.DataType) -> str:
    """Return what the values of a type are; empty where they are no values of a vector."""
    if types.is_dictionary(type_):
        return _kind(type_.value_type)
    return next((kind for kind, tests in _KINDS.items() if any(test(type_) for test in tests)), "")


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
        raise DataError(f"{_COLUMNS}: there is no text in any row of {', '.join(found)}; name columns with values")
    if (values := sum(len(column.values) for column in complete)) > MAX_VALUES:
        raise DataError(
            f"{_COLUMNS}: the columns become {values:,} values, a level of text being one; at most {MAX_VALUES:,} are "
            "read, so name fewer columns"
        )
    return complete


def _add_levels(levels: set[str], texts: pa.Array, name: str, table: Table) -> None:
    try:
        levels.update(filter(None, pc.unique(_as_text(texts)).to_pylist()))
    except UnicodeDecodeError as error:
        raise not_utf8(name, table.file) from error
    if len(levels) > MAX_LEVELS:
        _check_levels(levels, name, table)
        raise DataError(
            f"{_COLUMNS}: column {name!r} of {table.file.path} has more than {MAX_LEVELS:,} different texts; name the "
            f"columns of numbers alone, or give the levels of this one in {_CATEGORIES}"
        )


def _check_levels(levels: Collection[str], name: str, table: Table) -> None:
    """Refuse a text file's column that is text only because a word stands for missing numbers."""
    words = sorted(level for level in levels if not is_number(level))
    if not table.is_typed and words and len(levels) >= 2 * len(words):
        raise among_numbers(name, table.file, words[0])


def _as_text(values: pa.Array) -> pa.Array:
    return pc.cast(values, pa.string())


def _rows_of_batch(batch: pa.RecordBatch, columns: Sequence[ValueColumn]) -> NDArray[np.float32]:
    """Return the values of a batch as (n, D) float32, NaN where one is missing."""
    rows = np.empty((len(batch), sum(len(column.values) for column in columns)), np.float32)
    place = 0
    for column in columns:
        values = batch.column(column.name)
        if column.levels:
            _mark(rows[:, place : place + len(column.levels)], values, column.levels)
        else:
            rows[:, place] = _as_float32(values)
        place += len(column.values)
    return rows


def _mark(rows: NDArray[np.float32], values: pa.Array, levels: Sequence[str]) -> None:
    """Write 1 where a text is the level, 0 where it is another, NaN where it is missing."""
    texts = _as_text(values)
    places = pc.fill_null(pc.index_in(texts, pa.array(levels, pa.string())), -1).to_numpy()
    rows[:] = places[:, None] == np.arange(len(levels))
    rows[pc.fill_null(pc.equal(texts, ""), True).to_numpy(zero_copy_only=False)] = np.nan


class ColumnVectors:
    """Vectors of columns: one value for each number or boolean, one for each level of a text."""

    def __init__(self, columns: Sequence[ValueColumn]) -> None:
        self._columns = columns
        self._whole = [column.name for column in columns if column.is_whole]
        self.names = [name for column in columns for name in column.values]
        self.types = {column.name: column.read_as for column in columns}
        self.rows_at_once = rows_at_once(len(self.names))
        self.lost_digits = False

    def payloads(self, batch: pa.RecordBatch) -> list[bytes]:
        """Return the payload of each row."""
        self.lost_digits = self.lost_digits or any(map(_loses_digits, map(batch.column, self._whole)))
        return payloads_of(_rows_of_batch(batch, self._columns))


class ListVectors:
    """Vectors of a column of lists, all of the length of the first that has values."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.names: list[str] = []
        self.types = {name: pa.null()}
        self.rows_at_once = _LISTS_AT_ONCE
        self.lost_digits = False

    def payloads(self, batch: pa.RecordBatch) -> list[bytes | str]:
        """Return the payload of each row, or why it has none: it is null, or of another length.

        Raises:
            DataError: When the first list is too long.
        """
        lists = batch.column(self._name)
        if types.is_null(lists.type):
            lists = lists.cast(pa.list_(pa.float32()))
        lengths = pc.list_value_length(lists)
        found = lengths.to_pylist()
        if not self.names:
            self._begin(next(filter(None, found), 0))
        if not (length := len(self.names)):
            return ["null, or a list without values"] * len(found)
        values = lists.filter(pc.fill_null(pc.equal(lengths, length), False)).flatten()
        self.lost_digits = self.lost_digits or (types.is_integer(values.type) and _loses_digits(values))
        payloads = iter(payloads_of(_as_float32(values).reshape(-1, length)))
        return [next(payloads) if each == length else _misfit(each, length) for each in found]

    def _begin(self, length: int) -> None:
        if length > MAX_VALUES:
            raise DataError(
                f"{_COLUMNS}: the first list of column {self._name!r} has {length:,} values; at most {MAX_VALUES:,} "
                "are read, so shorten the lists"
            )
        self.names = [f"{self._name}[{place}]" for place in range(length)]


def _misfit(found: int | None, length: int) -> str:
    what = "null" if found is None else f"a list of length {found:,}"
    return f"{what}, and the first list of the table has length {length:,}"


def _as_float32(values: pa.Array) -> NDArray[np.float32]:
    floats: NDArray[np.float32] = pc.cast(values, pa.float32(), safe=False).to_numpy(zero_copy_only=False)
    return floats


def _loses_digits(numbers: pa.Array) -> bool:
    """Tell whether a whole number is not exact in float32."""
    bounds = pc.min_max(numbers).as_py()
    return bounds["max"] is not None and (bounds["max"] > EXACT or bounds["min"] < -EXACT)
