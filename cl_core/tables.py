"""Tables: rows of Python values to Arrow and back, and arrays in Parquet files, one row per sample."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


def required(**types: pa.DataType) -> list[pa.Field]:
    """Return columns that hold no null."""
    return [pa.field(name, kind, nullable=False) for name, kind in types.items()]


def schema_of(row: type[tuple[Any, ...]]) -> pa.Schema:
    """Return the columns of a named tuple of bytes, texts and integers; a field that may be None is nullable."""
    kinds = {bytes: pa.binary(), str: pa.string(), int: pa.int32()}
    hints = {name: get_args(hint) or (hint,) for name, hint in get_type_hints(row).items()}
    return pa.schema([pa.field(name, kinds[hint[0]], nullable=len(hint) > 1) for name, hint in hints.items()])


def table_of(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """Return rows of Python values as a table."""
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def rows_of(table: pa.Table | pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    """Return the rows of a table as tuples of Python values."""
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


def write_arrays(file: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write (N,) numbers, or (N, W) uint8, which become W bytes a row, as the columns of a Parquet file."""
    columns = {name: byte_column(array) if array.ndim == 2 else pa.array(array) for name, array in arrays.items()}
    pq.write_table(pa.table(columns), file, compression="NONE", use_dictionary=False, write_statistics=False)


def read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """Return the columns of a Parquet file as arrays, as `write_arrays` takes them."""
    table = pq.read_table(file)
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    return {
        name: column_bytes(column).copy()
        if pa.types.is_fixed_size_binary(column.type)
        else column.to_numpy(zero_copy_only=False)
        for name, column in columns.items()
    }


def column_bytes(column: pa.FixedSizeBinaryArray) -> NDArray[np.uint8]:
    """Return (N, W) uint8 of an Arrow column of W bytes a row, without copying; read-only."""
    width = column.type.byte_width
    data = np.frombuffer(column.buffers()[1], dtype=np.uint8, count=len(column) * width, offset=column.offset * width)
    return data.reshape(len(column), width)


def byte_column(rows: NDArray[np.uint8]) -> pa.FixedSizeBinaryArray:
    """Return (N, W) uint8 as an Arrow column of W bytes a row, without copying."""
    data = pa.py_buffer(np.ascontiguousarray(rows))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(rows.shape[1]), len(rows), [None, data])
