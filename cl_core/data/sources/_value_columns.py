"""Columns of tables: which are values, and what they hold."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate

import pyarrow as pa
from pyarrow import types

from cl_core.data.sources._csv_files import not_utf8
from cl_core.data.sources._table_files import Table
from cl_core.errors import DataError
from cl_core.modalities.vector import MAX_VALUES

COLUMNS = "source_options.columns"
CATEGORIES = "source_options.categories"
_LISTED = 10
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
        matches = {sought} & present or _matching(sought, present)
        if not matches:
            raise DataError(f"{COLUMNS}: {path} has no column {sought!r}; it has: {listed(names)}")
        (chosen.difference_update if without else chosen.update)(matches)
    indexes = {name for name in chosen if not name or name.startswith(_INDEX)}
    chosen -= {*others, *({*groups, *indexes} - set(patterns))}
    if len(chosen) > MAX_VALUES:
        raise DataError(
            f"{COLUMNS}: {path} has {len(chosen):,} columns of values; at most {MAX_VALUES:,} are read, so name fewer"
        )
    if not chosen:
        raise DataError(f"{COLUMNS}: of {path} no column is left for values; it has: {listed(names)}")
    selected = [name for name in names if name in chosen]
    check_names(table, dict.fromkeys(chosen, COLUMNS))
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
            f"{CATEGORIES}: {unknown[0]!r} is no column of values of {first.file.path}; those are: {listed(order)}"
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
                f"{CATEGORIES}: column {name!r} of {table.file.path} is {type_}; levels are of text or whole numbers"
            )
        return ValueColumn(name, "text", levels=levels)
    if any(test(type_) for test in _LISTS) and _kind(type_.value_type) in ("number", "boolean"):
        if not alone:
            raise DataError(
                f"{COLUMNS}: column {name!r} of {table.file.path} is {type_}, a list, beside other columns; name it "
                "alone, or leave it out"
            )
        return ValueColumn(name, "list")
    if not kind and types.is_binary(type_) and not table.is_typed:
        raise not_utf8(name, table.file)
    if not kind:
        raise DataError(
            f"{COLUMNS}: column {name!r} of {table.file.path} is {type_}; wanted numbers, booleans or text, so leave "
            f"it out, for example with {_WITHOUT + name!r} after '*'"
        )
    return ValueColumn(name, kind, is_whole)


def _kind(type_: pa.DataType) -> str:
    """Return what the values of a type are; empty where they are no values of a vector."""
    if types.is_dictionary(type_):
        return _kind(type_.value_type)
    return next((kind for kind, tests in _KINDS.items() if any(test(type_) for test in tests)), "")
