"""External merge sort: sort more rows than fit into memory by way of sorted runs on disk.

Knuth, The Art of Computer Programming, vol. 3, section 5.4.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

RUN_BYTES = 1 << 25
FAN_IN = 32  # Runs merged at a time; one batch of each is in memory.
_BATCH_BYTES = 1 << 19

Row = tuple[Any, ...]


class ExternalSort:
    """Sort rows of one schema by their leading columns.

    Memory is bounded by about three times `run_bytes` while rows are added, and by `FAN_IN` batches of half a
    mebibyte, or of one row where a row is larger, while they are read.

    Args:
        schema: Of the rows. None of its values may be null in the first `keys` columns.
        keys: Number of leading columns that decide the order.
        folder: Holds the runs; the caller removes it.
        run_bytes: Rows held in memory before they are sorted and written as a run. Bytes.
    """

    def __init__(self, schema: pa.Schema, *, keys: int, folder: Path, run_bytes: int = RUN_BYTES) -> None:
        self._schema = schema
        self._keys = keys
        self._folder = folder
        self._run_bytes = run_bytes
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._runs: list[Path] = []
        self._written = 0
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, columns: Sequence[Sequence[Any]]) -> None:
        """Take rows, given as columns in the order of the schema."""
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        batch = pa.record_batch(arrays, schema=self._schema)
        self._pending.append(batch)
        self._pending_bytes += batch.nbytes
        if self._pending_bytes >= self._run_bytes:
            self._spill()

    def rows(self) -> Iterator[Row]:
        """Yield all rows added, in order. Equal keys come in any order, so the keys should distinguish all rows."""
        self._spill()
        while len(self._runs) > FAN_IN:
            # The oldest first: runs grow evenly, and each row is rewritten once per factor of FAN_IN.
            oldest, self._runs = self._runs[:FAN_IN], self._runs[FAN_IN:]
            self._write(self._batches(self._merge(oldest)))
            for run in oldest:
                run.unlink()
        yield from self._merge(self._runs)

    def _spill(self) -> None:
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending)
        self._pending, self._pending_bytes = [], 0
        table = table.sort_by([(name, "ascending") for name in self._schema.names[: self._keys]]).combine_chunks()
        rows_per_batch = max(1, _BATCH_BYTES * table.num_rows // max(1, table.nbytes))
        self._write(table.to_batches(max_chunksize=rows_per_batch))

    def _write(self, batches: Iterable[pa.RecordBatch]) -> None:
        path = self._folder / f"run-{self._written:06d}.arrow"
        self._written += 1
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, self._schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        self._runs.append(path)

    def _merge(self, runs: list[Path]) -> Iterator[Row]:
        return merged(*map(_read, runs), keys=self._keys)

    def _batches(self, rows: Iterator[Row]) -> Iterator[pa.RecordBatch]:
        """Regroup rows into batches of about `_BATCH_BYTES`."""
        pending: list[Row] = []
        pending_bytes = 0
        for row in rows:
            pending.append(row)
            pending_bytes += sum(len(value) for value in row if isinstance(value, bytes | str))
            if pending_bytes >= _BATCH_BYTES:
                yield self._batch(pending)
                pending, pending_bytes = [], 0
        if pending:
            yield self._batch(pending)

    def _batch(self, rows: list[Row]) -> pa.RecordBatch:
        columns = zip(zip(*rows, strict=True), self._schema, strict=True)
        return pa.record_batch([pa.array(column, field.type) for column, field in columns], schema=self._schema)


def merged(*sorted_rows: Iterator[Row], keys: int) -> Iterator[Row]:
    """Merge several streams of rows, each sorted by its leading columns."""
    return heapq.merge(*sorted_rows, key=itemgetter(*range(keys)))


def _read(run: Path) -> Iterator[Row]:
    with pa.OSFile(str(run)) as file, pa.ipc.open_stream(file) as batches:
        for batch in batches:
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
