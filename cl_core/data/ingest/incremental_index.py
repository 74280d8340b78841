"""What an earlier ingestion noted: an input whose state has not changed since is not opened again.

Of each source and location one sealed folder is kept: `notes.parquet` has every input's state and what was found in
it, sorted by name, and `conflicting/` the contents that no snapshot has, since their copies contradict each other.
All other payloads come from the snapshot that was made then.
"""

import heapq
import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from cl_core import artifact_dir
from cl_core.data.ingest.external_sort import ExternalSort, Row
from cl_core.data.ingest.inspection import Input, PayloadInfo, Unchanged
from cl_core.data.ingest.row_groups import RowGroupWriter
from cl_core.data.schema import LISTING, NOTES, SPLITS, TEXT_SETTINGS
from cl_core.data.snapshot import open_snapshot
from cl_core.data.sources import Source, SourceEntry
from cl_core.errors import IntegrityError
from cl_core.hashing import digest_of, file_sha256
from cl_core.modalities.decode import Rejected

CONFLICTING = "conflicting"

_TABLE = "notes.parquet"
_BATCH_ROWS = 1024
_GROUP_ROWS = 1 << 14
_PAYLOADS = 64


class IndexEntry(NamedTuple):
    """What is noted of one input: columns of `NOTES`."""

    name: bytes
    state: str
    reason: str | None
    detail: str | None
    id: bytes | None
    format: str | None
    width: int | None
    height: int | None
    channels: int | None
    moments: bytes | None

    @classmethod
    def of(cls, listed: SourceEntry, found: PayloadInfo | Rejected) -> "IndexEntry":
        """The note of an input; what could not even be read is noted without its state, and is tried again."""
        if isinstance(found, PayloadInfo):
            return cls(listed.name, listed.state, None, None, *found)
        state = "" if found.reason == "unreadable" else listed.state
        return cls(listed.name, state, found.reason, found.detail, None, None, None, None, None, None)

    @property
    def found(self) -> PayloadInfo | Rejected:
        """What was found in the input."""
        return Rejected(self.reason, self.detail) if self.reason else PayloadInfo(*self[4:])  # type: ignore[arg-type]


@dataclass
class Counts:
    """How many inputs were opened, how many were known, and how many have gone; None where there are no notes."""

    read: int = 0
    known: int = 0
    gone: int | None = None


class IncrementalIndex:
    """The notes of one source and location.

    Args:
        place: Folder that holds them; need not exist.
        datasets: Folder of the dataset's snapshots.
        code: Digest of what decides what is found in an input.
        trusted: Whether they may stand for reading; else they only tell which inputs have gone.
    """

    def __init__(self, place: Path, datasets: Path, *, code: str, trusted: bool) -> None:
        self._place = place
        self._code = code
        self._snapshot: Path | None = None
        self._conflicting: Path | None = None
        self._table: pq.ParquetFile | None = None
        for folder in place.glob("[!.]*"):  # A kill may have left two: then either is good.
            try:
                facts = artifact_dir.verify(folder)
                self._table = pq.ParquetFile(folder / _TABLE)
                self._conflicting = folder / CONFLICTING
                if trusted and facts["code"] == code:
                    self._snapshot = open_snapshot(datasets / facts["snapshot"]).path
            except (IntegrityError, OSError):
                continue
            break

    def inputs(
        self, source: Source, location: str, listing: ExternalSort, counts: Counts
    ) -> Generator[Input, None, None]:
        """Every input of a source: what was noted of those that are as they were, and the others read.

        Args:
            source: Lists its inputs, or does not.
            location: Of the source.
            listing: Takes `LISTING`, by name.
            counts: Of what has gone; the others are counted by who takes them.
        """
        listed = source.listed(location)
        if listed is None:
            yield from source.samples(location)
            return
        for batch in _batches(listed):
            listing.add(batch)
        notes, gone = self._notes(), 0
        note = next(notes, None)
        for each in (SourceEntry(*row) for row in listing.rows()):
            while note and note.name < each.name:
                gone += 1
                note = next(notes, None)
            earlier = None
            if note and note.name == each.name:
                earlier, note = note, next(notes, None)
            if earlier and self._snapshot and earlier.state and earlier.state == each.state:
                yield Unchanged(each, earlier.found)
            else:
                yield source.read(location, each)
        if self._table is not None:
            counts.gone = gone + (note is not None) + sum(1 for _ in notes)

    def with_payloads(self, recalled: Iterator[Row]) -> Iterator[Row]:
        """Rows of `RECALLED`, sorted by id, as rows of `INPUTS`: with the payloads of the earlier snapshot.

        Raises:
            IntegrityError: When a payload is not where it was; the next ingestion reads all inputs.
        """
        stored = heapq.merge(*map(_payloads, self._payload_folders()), key=itemgetter(0))
        held: tuple[bytes, bytes] | None = (b"", b"")
        for row in recalled:
            while held and held[0] < row[0]:
                held = next(stored, None)
            if held is None or held[0] != row[0]:
                raise IntegrityError(
                    f"{self._snapshot} no longer holds the content {row[0].hex()}; run the same command again"
                )
            yield (*row[:4], held[1], *row[4:])

    def replace(self, staged: Path, *, snapshot: str) -> None:
        """Let staged notes take the place of these; killed on the way, either can be found.

        Args:
            staged: Holds what `notes_writer` wrote, and `conflicting/`.
            snapshot: Digest of the snapshot that has the other payloads, in place by now.
        """
        if pq.read_metadata(staged / _TABLE).num_rows == 0:
            return  # The source lists nothing.
        facts = {"snapshot": snapshot, "code": self._code}
        final = self._place / digest_of([facts, file_sha256(staged / _TABLE)])
        artifact_dir.publish(staged, final, facts)
        for other in self._place.glob("[!.]*"):
            if other != final:
                shutil.rmtree(other, ignore_errors=True)

    def _notes(self) -> Iterator[IndexEntry]:
        if self._table is not None:
            for batch in self._table.iter_batches(batch_size=_BATCH_ROWS):
                yield from map(IndexEntry._make, zip(*(column.to_pylist() for column in batch.columns), strict=True))

    def _payload_folders(self) -> list[Path]:
        if self._conflicting is None or self._snapshot is None:
            return []
        return [*(self._snapshot / split for split in SPLITS), self._conflicting]


def notes_writer(folder: Path) -> RowGroupWriter:
    """Takes the notes of all inputs, in the order in which they are delivered."""
    return RowGroupWriter(NOTES, TEXT_SETTINGS, name=lambda _: folder / _TABLE, group_rows=_GROUP_ROWS)


def _payloads(folder: Path) -> Iterator[tuple[bytes, bytes]]:
    """Ids and payloads of all parts in a folder, sorted by id; neither mapped nor read ahead: few are in memory."""
    for part in sorted(folder.glob("part-*.parquet")):
        with pq.ParquetFile(part, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=_PAYLOADS, columns=["id", "image"]):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _batches(listed: Iterator[SourceEntry]) -> Iterator[list[list[Any]]]:
    """Columns of `LISTING`, of bounded length."""
    rows: list[SourceEntry] = []

    def columns() -> list[list[Any]]:
        return [[getattr(row, name) for row in rows] for name in LISTING.names]

    for each in listed:
        rows.append(each)
        if len(rows) == _BATCH_ROWS:
            yield columns()
            rows = []
    if rows:
        yield columns()
