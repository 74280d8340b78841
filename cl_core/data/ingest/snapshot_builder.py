"""Build a snapshot: turn sorted inputs into its distinct rows, its digest and its profile."""

import hashlib
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, closing
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa

from cl_core.data.ingest.external_sort import ExternalSort, Row
from cl_core.data.ingest.row_group_writer import RowGroupWriter
from cl_core.data.ingest.split_groups import DrawnGroups
from cl_core.data.snapshot import (
    FORMAT_VERSION,
    GROUP_ROWS,
    IN_TEST_SPLIT,
    QUARANTINE_TABLE,
    ROWS_SETTINGS,
    SOURCES_TABLE,
    SPLITS,
    TEXT_SETTINGS,
    GroupCounts,
    SnapshotProfile,
    rows_schema,
)
from cl_core.hashing import canonical_json
from cl_core.modalities import Modality, PayloadInfo

_TEXT_GROUP_ROWS = 1 << 16
_NAMED_LABELS = 5
_NAMED_GROUPS = 8


def build_snapshot(
    folder: Path,
    *,
    name: str,
    valid: Generator[Row],
    rejected: ExternalSort,
    set_aside: Path,
    groups: DrawnGroups | None = None,
    modality: Modality,
) -> SnapshotProfile:
    """Write the files of a snapshot into `folder`: SPLIT/part-NNNNN.parquet, sources.parquet, quarantine.parquet.

    Copies within a split become one row. A content with a label in one copy and none in another has that label. A
    content with two different labels is quarantined, with all its copies. Of a content in both splits the copies of
    the training split are quarantined: it is tested on, not trained on. So is a training sample that is the same thing
    as a test sample, by one of its identities.

    `valid` are rows of `INPUTS`, sorted by their first four columns. `rejected` takes and sorts `QUARANTINE_TABLE`. The
    folder `set_aside` gets contents of which no split has a copy, in parts like those of a split. `groups` give the
    splits that are empty.

    Returns:
        The profile, with the digest: the sha256 of the format's version and of every row's id, split and label, and
        its group where there are groups. Options of the modality are in it that make other samples of the same bytes.
    """
    tally, parting = Tally(modality), Parting(groups) if groups else None
    payload_columns = [kind.name for kind in modality.columns]
    columns, ungrouped = (rows_schema(payload_columns, grouped=grouped) for grouped in (groups is not None, False))
    digest = hashlib.sha256(f"counterpoint snapshot {FORMAT_VERSION}\n".encode())
    digest.update(modality.digest_part)
    with ExitStack() as files:
        splits = {split: files.enter_context(_split_writer(folder / split, columns)) for split in SPLITS}
        sources = files.enter_context(_table_writer(folder / "sources.parquet", SOURCES_TABLE))
        aside = files.enter_context(_split_writer(set_aside, ungrouped))
        files.enter_context(closing(valid))
        for key, rows in groupby(valid, key=itemgetter(0)):
            # Of all copies but the first only split, origin and label are kept, so that memory stays small.
            copies = list[Row]()
            for row in rows:
                if not copies:
                    payload, info = row[4], row[5:]
                copies.append(row[1:4])
            if (group := groups.of(key) if groups else None) and not all(split for split, _, _ in copies):
                copies = sorted((split or group.split, origin, label) for split, origin, label in copies)
            labels = sorted({label for _, _, label in copies if label})
            if len(labels) > 1:
                rejected.add(_conflict(copies, labels))
                aside.add((key, *modality.parts(payload), None), size=len(payload))
                continue
            if group and group.tested:
                rejected.add(_same_thing(copies, modality.unit, group.tested))
                aside.add((key, *modality.parts(payload), None), size=len(payload))
                tally.leaked += 1
                continue
            label = labels[0] if labels else ""
            if len({split for split, _, _ in copies}) > 1:
                rejected.add(_leak(copies, modality.unit))
                tally.leaked += 1
                copies = [copy for copy in copies if copy[0] == "test"]
            split = copies[0][0]
            for _, origin, _ in copies:
                sources.add((key, split, origin))
            grouped = (group.tag,) if group else ()
            splits[split].add((key, *modality.parts(payload), label or None, *grouped), size=len(payload))
            digest.update(key + _split_and_label(split, label) + b"".join(tag.to_bytes(8, "big") for tag in grouped))
            if parting and group:
                parting.add(group.number, split, copies[0][1])
            tally.add(split, label, payload, PayloadInfo(key, *info))
            tally.copies += len(copies)
    with _table_writer(folder / "quarantine.parquet", QUARANTINE_TABLE) as quarantine:
        for row in rejected.rows():
            quarantine.add(row)
            tally.quarantined[row[1]] += 1
    profile = tally.profile(name=name, digest=digest.hexdigest())
    return profile.model_copy(update={"groups": parting.counts()}) if parting else profile


def _conflict(copies: list[Row], labels: list[str]) -> list[Row]:
    """Return rows of `QUARANTINE_TABLE` for the copies of a content with several labels."""
    all_labels = ", ".join(map(repr, labels[:_NAMED_LABELS])) + (", …" if len(labels) > _NAMED_LABELS else "")
    return [
        (origin, "conflicting_labels", f"labeled {label!r} here; copies of it are labeled {all_labels}")
        for _, origin, label in copies
    ]


def _leak(copies: list[Row], unit: str) -> list[Row]:
    """Return rows of `QUARANTINE_TABLE` for the training copies of a content that the test split has, too."""
    tested = [origin for split, origin, _ in copies if split == "test"]
    named = ", ".join(tested[:_NAMED_LABELS]) + (", …" if len(tested) > _NAMED_LABELS else "")
    detail = f"the test split has the same {unit}: {named}; it is tested on, and not trained on"
    return [(origin, IN_TEST_SPLIT, detail) for split, origin, _ in copies if split == "train"]


def _same_thing(copies: list[Row], unit: str, tested: bytes) -> list[Row]:
    """Return rows of `QUARANTINE_TABLE` for the copies of a training sample that has an identity of a test sample."""
    detail = f"it has a part in common with {unit} {tested.hex()} of the test split, so it is not trained on"
    return [(origin, IN_TEST_SPLIT, detail) for _, origin, _ in copies]


@lru_cache
def _split_and_label(split: str, label: str) -> bytes:
    """Encode a split and a label unambiguously."""
    return canonical_json([split, label]).encode() + b"\n"


def _split_writer(folder: Path, columns: pa.Schema) -> RowGroupWriter:
    return RowGroupWriter(
        columns, ROWS_SETTINGS, name=lambda number: folder / f"part-{number:05d}.parquet", group_rows=GROUP_ROWS
    )


def _table_writer(path: Path, schema: pa.Schema) -> RowGroupWriter:
    return RowGroupWriter(schema, TEXT_SETTINGS, name=lambda _: path, group_rows=_TEXT_GROUP_ROWS)


class Parting:
    """Counts the samples of each group per split."""

    def __init__(self, groups: DrawnGroups) -> None:
        self._groups = groups
        self._sizes = {split: np.zeros(len(groups), np.int64) for split in SPLITS}
        self._origins: dict[int, dict[str, str]] = {number: {} for number in groups.named_in_both[:_NAMED_GROUPS]}

    def add(self, group: int, split: str, origin: str) -> None:
        """Count one distinct row."""
        self._sizes[split][group] += 1
        if group in self._origins:
            self._origins[group].setdefault(split, origin)

    def counts(self) -> GroupCounts:
        """Return what was counted."""
        parted = np.all([sizes > 0 for sizes in self._sizes.values()], axis=0)
        return GroupCounts(
            splits={split: int(np.count_nonzero(sizes)) for split, sizes in self._sizes.items()},
            largest=int(np.sum(list(self._sizes.values()), axis=0).max(initial=0)),
            unnamed=self._groups.unnamed,
            drawn=self._groups.drawn,
            parted=int(parted.sum()),
            parted_origins=[
                (origins["train"], origins["test"]) for origins in self._origins.values() if len(origins) == 2
            ],
        )


class Tally:
    """Counts the rows of a snapshot; the profile does not depend on their order."""

    def __init__(self, modality: Modality) -> None:
        self.per_class: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        self.formats: Counter[str] = Counter()
        self.quarantined: Counter[str] = Counter()
        self.payload_bytes = self.copies = self.leaked = 0
        self._name, self._profiler = modality.registered_name, modality.profiler()

    def add(self, split: str, label: str, payload: bytes, info: PayloadInfo) -> None:
        """Count one distinct row."""
        self.per_class[split][label] += 1
        self.formats[info.format] += 1
        self.payload_bytes += len(payload)
        self._profiler.add(split, info.measures)

    def profile(self, *, name: str, digest: str) -> SnapshotProfile:
        """Return the profile of what was counted."""
        rows = {split: counts.total() for split, counts in self.per_class.items()}
        labeled = {split: {c: n for c, n in sorted(counts.items()) if c} for split, counts in self.per_class.items()}
        return SnapshotProfile(
            name=name,
            digest=digest,
            rows=rows,
            classes=sorted({label for counts in labeled.values() for label in counts}),
            per_class=labeled,
            unlabelled={split: counts[""] for split, counts in self.per_class.items()},
            formats=dict(sorted(self.formats.items())),
            payload_bytes=self.payload_bytes,
            inputs=self.copies + self.quarantined.total(),
            duplicates=self.copies - sum(rows.values()),
            leaked=self.leaked,
            quarantined=dict(sorted(self.quarantined.items())),
            modality=self._name,
            content=self._profiler.profile(),
        )
