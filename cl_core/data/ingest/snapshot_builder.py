"""Build a snapshot: turn sorted inputs into its distinct rows, its digest and its profile."""

import hashlib
from collections.abc import Generator
from contextlib import ExitStack, closing
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pyarrow as pa

from cl_core.data.ingest.external_sort import ExternalSort, Row
from cl_core.data.ingest.row_group_writer import RowGroupWriter
from cl_core.data.ingest.tally import Tally
from cl_core.data.snapshot import (
    FORMAT_VERSION,
    GROUP_ROWS,
    QUARANTINE_TABLE,
    ROWS,
    ROWS_SETTINGS,
    SOURCES_TABLE,
    SPLITS,
    TEXT_SETTINGS,
    SnapshotProfile,
)
from cl_core.hashing import canonical_json

_TEXT_GROUP_ROWS = 1 << 16
_NAMED_LABELS = 5


def build_snapshot(
    folder: Path, *, name: str, valid: Generator[Row], rejected: ExternalSort, conflicting: Path
) -> SnapshotProfile:
    """Write the files of a snapshot into `folder`: SPLIT/part-NNNNN.parquet, sources.parquet, quarantine.parquet.

    Copies within a split become one row. A content with a label in one copy and none in another has that label. A
    content with two different labels is quarantined, with all its copies. A content in both splits stays in both and
    is counted as leaked.

    Args:
        folder: Empty.
        name: Of the dataset.
        valid: Inputs that can be decoded, `INPUTS`, sorted by their first four columns.
        rejected: The others, `QUARANTINE_TABLE`.
        conflicting: Folder for the contents with contradicting labels, in parts like those of a split.

    Returns:
        The profile, with the digest: the sha256 of the format's version and of every row's id, split and label.
    """
    tally = Tally()
    digest = hashlib.sha256(f"counterpoint snapshot {FORMAT_VERSION}\n".encode())
    with ExitStack() as files:
        splits = {split: files.enter_context(_split_writer(folder / split)) for split in SPLITS}
        sources = files.enter_context(_table_writer(folder / "sources.parquet", SOURCES_TABLE))
        set_aside = files.enter_context(_split_writer(conflicting))
        files.enter_context(closing(valid))
        for key, rows in groupby(valid, key=itemgetter(0)):
            # Of all copies but the first only split, origin and label are kept, so that memory stays small.
            copies = list[Row]()
            for row in rows:
                if not copies:
                    payload, info = row[4], row[5:]
                copies.append(row[1:4])
            labels = sorted({label for _, _, label in copies if label})
            if len(labels) > 1:
                rejected.add(_conflict(copies, labels))
                set_aside.add((key, payload, None), size=len(payload))
                continue
            label = labels[0] if labels else ""
            for split, origin, _ in copies:
                sources.add((key, split, origin))
            present = sorted({split for split, _, _ in copies})
            for split in present:
                splits[split].add((key, payload, label or None), size=len(payload))
                digest.update(key + _split_and_label(split, label))
                tally.add(split, label, payload, *info)
            tally.copies += len(copies)
            tally.leaked += len(present) > 1
    with _table_writer(folder / "quarantine.parquet", QUARANTINE_TABLE) as quarantine:
        for row in rejected.rows():
            quarantine.add(row)
            tally.quarantined[row[1]] += 1
    return tally.profile(name=name, digest=digest.hexdigest())


def _conflict(copies: list[Row], labels: list[str]) -> list[Row]:
    """Return rows of `QUARANTINE_TABLE` for the copies of a content with several labels."""
    all_labels = ", ".join(map(repr, labels[:_NAMED_LABELS])) + (", …" if len(labels) > _NAMED_LABELS else "")
    return [
        (origin, "conflicting_labels", f"labeled {label!r} here; copies of it are labeled {all_labels}")
        for _, origin, label in copies
    ]


@lru_cache
def _split_and_label(split: str, label: str) -> bytes:
    """Encode a split and a label unambiguously."""
    return canonical_json([split, label]).encode() + b"\n"


def _split_writer(folder: Path) -> RowGroupWriter:
    return RowGroupWriter(
        ROWS, ROWS_SETTINGS, name=lambda number: folder / f"part-{number:05d}.parquet", group_rows=GROUP_ROWS
    )


def _table_writer(path: Path, schema: pa.Schema) -> RowGroupWriter:
    return RowGroupWriter(schema, TEXT_SETTINGS, name=lambda _: path, group_rows=_TEXT_GROUP_ROWS)
