"""External merge sort: sort more rows than fit into memory by way of sorted runs on disk.

Knuth, The Art of Computer Programming, vol. 3, section 5.4.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from cl_core.data.worker_pool import bounded_batches
from cl_core.tables import rows_of, table_of

RUN_BYTES = 1 << 25
FAN_IN = 32  # Runs merged at a time; one batch of each is in memory.
_BATCH_BYTES = 1 << 19

Row = tuple[Any, ...]


class ExternalSort:
    """Sort rows of one schema by their leading columns, `keys` of them, in which no value is null.

    Memory is bounded by about three times `run_bytes` while rows are added, and by `FAN_IN` batches of half a
    mebibyte, or of one row where a row is larger, while they are read.

    The caller removes the folder, which holds the runs.
    """

    def __init__(self, schema: pa.Schema, *, keys: int, folder: Path, run_bytes: int = RUN_BYTES) -> None:
        self._schema = schema
        self._keys = keys
        self._folder = folder
        self._run_bytes = run_bytes
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        self._runs: list[Path] = []
        self._written = 0
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, rows: Sequence[Row]) -> None:
        """Take rows, each a value per column of the schema."""
        if not rows:
            return
        table = table_of(rows, self._schema)
        self._pending.append(table)
        self._pending_bytes += table.nbytes
        if self._pending_bytes >= self._run_bytes:
            self._spill()

    def rows(self) -> Iterator[Row]:
        """Yield all rows added, in order. Equal keys come in any order, so the keys should distinguish all rows."""
        self._spill()
        while len(self._runs) > FAN_IN:
            # The oldest first: runs grow evenly, and each row is rewritten once per factor of FAN_IN.
            oldest, self._runs = self._runs[:FAN_IN], self._runs[FAN_IN:]
            batches = bounded_batches(self._merge(oldest), size=_size, limit=_BATCH_BYTES)
            self._write(table_of(batch, self._schema) for batch in batches)
            for run in oldest:
                run.unlink()
        yield from self._merge(self._runs)

    def _spill(self) -> None:
        if self._pending:
            table = pa.concat_tables(self._pending)
            self._pending, self._pending_bytes = [], 0
            self._write([table.sort_by([(name, "ascending") for name in self._schema.names[: self._keys]])])

    def _write(self, tables: Iterable[pa.Table]) -> None:
        path = self._folder / f"run-{self._written:06d}.arrow"
        self._written += 1
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, self._schema) as writer:
            for table in tables:
                rows_per_batch = max(1, _BATCH_BYTES * table.num_rows // table.nbytes)
                writer.write_table(table.combine_chunks(), rows_per_batch)
        self._runs.append(path)

    def _merge(self, runs: list[Path]) -> Iterator[Row]:
        return heapq.merge(*map(_read, runs), key=itemgetter(*range(self._keys)))


def _size(row: Row) -> int:
    return sum(len(value) for value in row if isinstance(value, bytes | str))


def _read(run: Path) -> Iterator[Row]:
    with pa.OSFile(str(run)) as file, pa.ipc.open_stream(file) as batches:
        for batch in batches:
            yield from rows_of(batch)
