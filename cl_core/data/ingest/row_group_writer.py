"""Write Parquet in row groups of bounded size."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from cl_core.data.snapshot import FILE_BYTES, GROUP_BYTES


class RowGroupWriter:
    """Takes rows one at a time and writes them in row groups, into one file after another.

    Which row is in which group and file follows from the rows alone, so the same rows make the same bytes.

    Args:
        schema: Of the rows.
        settings: Of `pyarrow.parquet.ParquetWriter`.
        name: Returns the path of the file with this number; its folder is created.
        group_rows: At most so many rows are in a group.
    """

    def __init__(
        self, schema: pa.Schema, settings: dict[str, Any], *, name: Callable[[int], Path], group_rows: int
    ) -> None:
        self._schema = schema
        self._settings = settings
        self._name = name
        self._group_rows = group_rows
        self._files = 0
        self._file: pq.ParquetWriter | None = None
        self._sink: pa.OSFile | None = None
        self._file_bytes = 0
        self._rows: list[tuple[Any, ...]] = []
        self._bytes = 0

    def add(self, row: tuple[Any, ...], *, size: int = 0) -> None:
        """Append a row; `size` is what it adds to its group's `GROUP_BYTES` and its file's `FILE_BYTES`."""
        if self._rows and self._bytes + size > GROUP_BYTES:
            self._flush()
        self._rows.append(row)
        self._bytes += size
        if len(self._rows) == self._group_rows:
            self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and (self._rows or not self._files):
                self._flush()  # A table without rows is still a file: its reader need not ask whether it exists.
        finally:
            self._close()

    def _flush(self) -> None:
        if self._file is None:
            path = self._name(self._files)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = pa.OSFile(str(path), "wb")
            self._file = pq.ParquetWriter(self._sink, self._schema, **self._settings)
            self._files += 1
        columns = zip(*self._rows, strict=True) if self._rows else [()] * len(self._schema)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._file.write_table(pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=self._group_rows)
        self._file_bytes += self._bytes
        self._rows, self._bytes = [], 0
        if self._file_bytes >= FILE_BYTES:
            self._close()

    def _close(self) -> None:
        try:
            if self._file is not None:
                self._file.close()
        finally:
            # The footer of a full disk's file fails too; an open file would keep its space after it is deleted.
            if self._sink is not None:
                self._sink.close()
            self._file, self._sink, self._file_bytes = None, None, 0
