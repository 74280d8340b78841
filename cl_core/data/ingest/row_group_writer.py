"""Write Parquet in row groups of bounded size."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from cl_core.data.snapshot import FILE_BYTES, GROUP_BYTES
from cl_core.tables import table_of


class RowGroupWriter:
    """Takes rows one at a time and writes them in row groups, into one file after another.

    Which row is in which group and file follows from the rows alone, so the same rows make the same bytes.

    `name` returns the path of the file with a number; its folder is created.
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
        self._open = ExitStack()
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

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and (self._rows or not self._files):
                self._flush()  # A table without rows is still a file: its reader need not ask whether it exists.
        finally:
            self._close()

    def _flush(self) -> None:
        if self._file is None:
            path = self._name(self._files)
            path.parent.mkdir(parents=True, exist_ok=True)
            # The footer of a full disk's file fails too; an open file would keep its space after it is deleted.
            sink = self._open.enter_context(pa.OSFile(str(path), "wb"))
            self._file = self._open.enter_context(pq.ParquetWriter(sink, self._schema, **self._settings))
            self._files += 1
        self._file.write_table(table_of(self._rows, self._schema), row_group_size=self._group_rows)
        self._file_bytes += self._bytes
        self._rows, self._bytes = [], 0
        if self._file_bytes >= FILE_BYTES:
            self._close()

    def _close(self) -> None:
        self._file, self._file_bytes = None, 0
        self._open.close()
