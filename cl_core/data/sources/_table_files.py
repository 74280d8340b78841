"""Files of tables, read in batches of some columns: what one is, and those in Parquet."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import pyarrow as pa

from cl_core.data.sources._csv_files import CsvTable, head_of
from cl_core.data.sources._parquet_files import PARQUET_MAGIC, PARQUET_SUFFIXES, TableFile, batches_of, opened_parquet


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
        """Return whether the file itself declares what its columns hold."""

    def schema(self, columns: Sequence[str], texts: Collection[str]) -> pa.Schema:
        """Return what these columns hold, as the file says or its first rows show; `texts` are read as text."""

    def batches(
        self, types: Mapping[str, pa.DataType], rows_at_once: int, rows: Sequence[int] | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield rows of some columns, each batch with the number of its first row.

        Args:
            types: What the columns are read as, where the file does not say.
            rows_at_once: Rows of a batch, at most.
            rows: Numbers of rows: where batches hold none of them they may be left out. None for all.
        """


def table_of_file(file: TableFile) -> Table:
    """Return a file as a table: Parquet by its suffix or its first bytes, text else.

    Raises:
        DataError: When it cannot be read.
    """
    suffix = file.path.suffix.lower()
    is_parquet = suffix in PARQUET_SUFFIXES or head_of(file, len(PARQUET_MAGIC)) == PARQUET_MAGIC
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
        self, types: Mapping[str, pa.DataType], rows_at_once: int, rows: Sequence[int] | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the columns as they are; row groups that hold none of `rows` are not read."""
        with opened_parquet(self.file.path) as opened:
            for number, groups in _row_groups(opened.metadata, rows):
                for batch in batches_of(opened, self.file.path, list(types), rows_at_once, groups):
                    yield number, batch
                    number += len(batch)


def _row_groups(metadata: Any, rows: Sequence[int] | None) -> Iterator[tuple[int, list[int]]]:
    """Yield the row groups that hold some of `rows`, each with the number of its first row; all at once for None."""
    if rows is None:
        yield 0, list(range(metadata.num_row_groups))
        return
    start = 0
    for group in range(metadata.num_row_groups):
        stop = start + metadata.row_group(group).num_rows
        if any(start <= row < stop for row in rows):
            yield start, [group]
        start = stop
