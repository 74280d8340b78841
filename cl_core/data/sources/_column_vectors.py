"""Batches of a table as payloads: the values of some columns, or the lists in one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from cl_core.data.sources._value_columns import COLUMNS, ValueColumn
from cl_core.data.sources._vectors import EXACT, payloads_of, rows_at_once
from cl_core.errors import DataError
from cl_core.modalities.vector import MAX_VALUES

_LISTS_AT_ONCE = 256  # Their length is known when the first is read.


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
    texts = pc.cast(values, pa.string())
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

    @property
    def content(self) -> dict[str, Any]:
        """Return the names of the values and, where a column has several, how many each column has."""
        widths = [len(column.values) for column in self._columns]
        return {"columns": self.names} | ({"column_widths": widths} if max(widths) > 1 else {})

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

    @property
    def content(self) -> dict[str, Any]:
        """Return the names of the values."""
        return {"columns": self.names}

    def payloads(self, batch: pa.RecordBatch) -> list[bytes | str]:
        """Return the payload of each row, or why it has none: it is null, or of another length.

        Raises:
            DataError: When the first list is too long.
        """
        lists = batch.column(self._name)
        if types.is_null(lists.type):
            lists = lists.cast(pa.list_(pa.float32()))
        lengths = pc.list_value_length(lists)
        row_lengths = lengths.to_pylist()
        if not self.names:
            self._begin(next(filter(None, row_lengths), 0))
        if not (length := len(self.names)):
            return ["null, or a list without values"] * len(row_lengths)
        values = lists.filter(pc.fill_null(pc.equal(lengths, length), False)).flatten()
        self.lost_digits = self.lost_digits or (types.is_integer(values.type) and _loses_digits(values))
        payloads = iter(payloads_of(_as_float32(values).reshape(-1, length)))
        return [next(payloads) if each == length else _misfit(each, length) for each in row_lengths]

    def _begin(self, length: int) -> None:
        if length > MAX_VALUES:
            raise DataError(
                f"{COLUMNS}: the first list of column {self._name!r} has {length:,} values; at most {MAX_VALUES:,} "
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
    """Return whether a whole number is not exact in float32."""
    bounds = pc.min_max(numbers).as_py()
    return bounds["max"] is not None and (bounds["max"] > EXACT or bounds["min"] < -EXACT)
