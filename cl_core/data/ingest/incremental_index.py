"""The index of an earlier ingestion: an input whose state has not changed since is not opened again.

Each source and location has one artifact directory. `index.parquet` holds every input's state and the result of its
inspection, sorted by name. `conflicting/` holds the contents that are valid and in no split of the snapshot. All
other payloads come from the snapshot that was made then.
"""

import heapq
import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from cl_core import artifact_dir
from cl_core.data.ingest.external_sort import ExternalSort, Row
from cl_core.data.ingest.inspection import Input, Unchanged
from cl_core.data.ingest.row_group_writer import RowGroupWriter
from cl_core.data.snapshot import SPLITS, TEXT_SETTINGS, open_snapshot, payload_columns
from cl_core.data.sources import Source, SourceEntry
from cl_core.data.worker_pool import bounded_batches
from cl_core.errors import IntegrityError
from cl_core.hashing import digest_of, file_sha256
from cl_core.modalities import PayloadInfo, Rejected, joined
from cl_core.tables import rows_of, schema_of

SET_ASIDE = "conflicting"  # There was no other reason in 0.1.

LISTING = schema_of(SourceEntry)

_TABLE = "index.parquet"  # `notes.parquet` before 0.2.
_BATCH_ROWS = 1024
_GROUP_ROWS = 1 << 14
_PAYLOADS = 64


class IndexEntry(NamedTuple):
    """What is known of one input: a row of the index, which is sorted by name."""

    name: bytes
    state: str
    reason: str | None  # None for an input that can be decoded; else the fields after `detail` are.
    detail: str | None
    id: bytes | None
    format: str | None
    measures: bytes | None
    fingerprint: bytes | None
    identities: bytes | None

    @classmethod
    def of(cls, listed: SourceEntry, result: PayloadInfo | Rejected) -> "IndexEntry":
        """Make the entry of an input; an unreadable one gets no state, so that it is tried again."""
        if isinstance(result, PayloadInfo):
            return cls(listed.name, listed.state, None, None, *result)
        state = "" if result.reason == "unreadable" else listed.state
        return cls(listed.name, state, result.reason, result.detail, *[None] * len(PayloadInfo._fields))

    @classmethod
    def of_name(cls, name: bytes) -> "IndexEntry":
        """Make the entry of an input of which only the name counts: it has no state, so that it is read again."""
        return cls(name, "", *[None] * (len(cls._fields) - 2))

    @property
    def result(self) -> PayloadInfo | Rejected:
        """Return the result of the input's inspection."""
        return Rejected(self.reason, self.detail) if self.reason else PayloadInfo(*self[4:])  # type: ignore[arg-type]


@dataclass
class Counts:
    """How many inputs were read, are unchanged, and were removed (None without an earlier index)."""

    read: int = 0
    unchanged: int = 0
    removed: int | None = None


class IncrementalIndex:
    """The index of one source and location in a folder, `place`, that need not exist.

    Unless it is trusted, and made by the same code, its entries only show which inputs were removed.
    """

    def __init__(self, place: Path, datasets: Path, *, code: str, trusted: bool) -> None:
        self._place = place
        self._code = code
        self._snapshot: Path | None = None
        self._set_aside: Path | None = None
        self._table: pq.ParquetFile | None = None
        for folder in place.glob("[!.]*"):  # A kill may have left two: then either is good.
            try:
                manifest = artifact_dir.verify(folder)
                self._table = pq.ParquetFile(next(folder.glob("*.parquet")))
                self._set_aside = folder / SET_ASIDE
                if trusted and manifest["code"] == code:
                    self._snapshot = open_snapshot(datasets / manifest["snapshot"]).path
            except (IntegrityError, OSError):
                continue
            break

    def inputs(self, source: Source, location: str, listing: ExternalSort, counts: Counts) -> Iterator[Input]:
        """Yield every input of a source: unchanged ones from the index, the others read; count the removed ones."""
        listed = source.listed(location)
        if listed is None:
            yield from source.samples(location)
            return
        for batch in bounded_batches(listed, rows=_BATCH_ROWS):
            listing.add(batch)
        entries, matched = self._entries(), 0
        entry = next(entries, None)
        for item in map(SourceEntry._make, listing.rows()):
            while entry and entry.name < item.name:
                entry = next(entries, None)
            earlier = entry if entry and entry.name == item.name else None
            matched += earlier is not None
            if earlier and self._snapshot and earlier.state and earlier.state == item.state:
                yield Unchanged(item, earlier.result)
            else:
                yield source.read(location, item)
        if self._table is not None:
            counts.removed = self._table.metadata.num_rows - matched

    def with_payloads(self, rows: Iterator[Row]) -> Generator[Row]:
        """Fill in the payloads of unchanged inputs, from the earlier snapshot, in rows of `INPUTS` sorted by id.

        Raises:
            IntegrityError: When a payload is missing; the next ingestion reads all inputs.
        """
        folders = []
        if self._snapshot and self._set_aside:
            folders = [*(self._snapshot / split for split in SPLITS), self._set_aside]
        stored = heapq.merge(*map(_payloads, folders), key=itemgetter(0))
        current: tuple[bytes, bytes] | None = (b"", b"")
        for row in rows:
            if row[4] is not None:
                yield row
                continue
            while current and current[0] < row[0]:
                current = next(stored, None)
            if current is None or current[0] != row[0]:
                raise IntegrityError(
                    f"{self._snapshot} no longer holds the content {row[0].hex()}; run the same command again"
                )
            yield (*row[:4], current[1], *row[5:])

    def replace(self, staged: Path, *, snapshot: str) -> None:
        """Replace this index by what `index_writer` staged; after a kill on the way, at least one of them exists.

        The snapshot, which holds the payloads, is published by now.
        """
        if pq.read_metadata(staged / _TABLE).num_rows == 0:
            return  # The source lists nothing.
        metadata = {"snapshot": snapshot, "code": self._code}
        final = self._place / digest_of([metadata, file_sha256(staged / _TABLE)])
        artifact_dir.publish(staged, final, metadata)
        for other in self._place.glob("[!.]*"):
            if other != final:
                shutil.rmtree(other, ignore_errors=True)

    def _entries(self) -> Iterator[IndexEntry]:
        if self._table is not None:
            # One of other code may have other columns; only its names count.
            columns = list(IndexEntry._fields if self._snapshot else IndexEntry._fields[:1])
            for batch in self._table.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                for name, *known in rows_of(batch):
                    yield IndexEntry(name, *known) if known else IndexEntry.of_name(name)


def index_writer(folder: Path) -> RowGroupWriter:
    """Return a writer of the entries of all inputs, in the order in which the source delivers them."""
    return RowGroupWriter(schema_of(IndexEntry), TEXT_SETTINGS, name=lambda _: folder / _TABLE, group_rows=_GROUP_ROWS)


def _payloads(folder: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield ids and payloads of all parts in a folder, sorted by id; without a map or read-ahead few are in memory."""
    for part in sorted(folder.glob("part-*.parquet")):
        with pq.ParquetFile(part, pre_buffer=False) as file:
            columns = ["id", *payload_columns(file.schema_arrow)]
            for batch in file.iter_batches(batch_size=_PAYLOADS, columns=columns):
                yield from ((key, joined(parts)) for key, *parts in rows_of(batch))
