"""Snapshots: the columns of their files, their manifest, and how they are read.

A snapshot is an ingested dataset, immutable, in `datasets/NAME/DIGEST/`. It is verified when it is opened and read a
row group at a time.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from cl_core.artifact_dir import MANIFEST, manifest_of, verify
from cl_core.errors import IntegrityError
from cl_core.refs import Ref, SnapshotRef
from cl_core.specs import ValueRange
from cl_core.tables import required, rows_of

FORMAT_VERSION = 1  # Part of every digest: raise it when the same content should count as another snapshot.

SPLITS = ("test", "train")

ID_BYTES = 32

GROUP_ROWS = 1024
GROUP_BYTES = 1 << 25  # One row costs its whole group, and more than 2 GB in one group breaks Arrow's offsets.
FILE_BYTES = 1 << 28

PAYLOAD = 1
"""Position of the payload among the columns of a split, which is named after the modality's."""
# Encoded images do not compress, have no repeats, and their least and greatest say nothing but bloat the footer.
ROWS_SETTINGS: dict[str, Any] = {"compression": "NONE", "use_dictionary": ["label"], "write_statistics": ["id"]}

SOURCES_TABLE = pa.schema(required(id=pa.binary(ID_BYTES), split=pa.string(), origin=pa.string()))
QUARANTINE_TABLE = pa.schema(required(origin=pa.string(), reason=pa.string(), detail=pa.string()))
TEXT_SETTINGS: dict[str, Any] = {"compression": "ZSTD", "use_dictionary": ["split", "reason"]}


_OPTIONAL = ("groups", "value_range", "narrow")


class SizeCount(Ref):
    """Images of one size."""

    width: int
    height: int
    count: int


class NarrowValues(Ref):
    """Images that together use a small part of the range of values that becomes black to white."""

    bits: int = Field(description="Bits of a value in their files: 8 or 16.")
    images: int
    low: int = Field(description="Least value in any of them.")
    high: int = Field(description="Greatest value in any of them.")


class GroupCounts(Ref):
    """Groups of samples that are kept in one split."""

    splits: dict[str, int] = Field(description="Groups per split.")
    largest: int = Field(description="Samples of the largest group.")
    unnamed: int = Field(description="Inputs for which data.group names none; each is a group of its own.")
    drawn: bool = Field(description="Whether the splits of some samples were drawn, not named by the source.")
    parted: int = Field(description="Groups with samples in both splits, because the source names them so.")
    parted_origins: list[tuple[str, str]] = Field(
        description="A training and a test sample of some of these, by one copy each."
    )

    @property
    def number(self) -> int:
        """Return how many groups there are."""
        return sum(self.splits.values()) - self.parted

    @property
    def phrase(self) -> str:
        """Return the counts in words: 35 groups (30 train, 5 test; the largest has 240 samples)."""
        splits = ", ".join(f"{self.splits[split]:,} {split}" for split in reversed(SPLITS))
        unnamed = f"; {self.unnamed:,} inputs without a group, each by itself" if self.unnamed else ""
        return f"{self.number:,} groups ({splits}; the largest has {self.largest:,} samples{unnamed})"


class SnapshotProfile(BaseModel):
    """What a snapshot's manifest says about its content."""

    model_config = ConfigDict(frozen=True)

    format_version: int = FORMAT_VERSION
    name: str
    digest: str = Field(description="Of the ids, labels and splits of all rows, 64 hexadecimal digits.")
    rows: dict[str, int] = Field(description="Distinct samples per split.")
    classes: list[str] = Field(description="Sorted; empty without labels.")
    per_class: dict[str, dict[str, int]] = Field(description="Labeled samples per split and class.")
    unlabelled: dict[str, int] = Field(description="Samples without a label, per split.")
    channels: Literal[1, 3] = Field(description="1 when every image is grayscale.")
    mean: tuple[float, ...] = Field(description="Of the training split's pixels, per channel, in 0..1.")
    std: tuple[float, ...] = Field(description="Of the training split's pixels, per channel, in 0..1.")
    sizes: list[SizeCount] = Field(description="The most frequent sizes, most frequent first. Pixels.")
    distinct_sizes: int
    formats: dict[str, int] = Field(description="Samples per file format.")
    image_bytes: int = Field(description="Encoded size of all rows.")
    inputs: int = Field(description="What the source delivered, duplicates and rejected inputs included.")
    duplicates: int = Field(description="Copies merged into another row of the same split.")
    leaked: int = Field(description="Contents of the test split whose copies in the training split are quarantined.")
    quarantined: dict[str, int] = Field(description="Rejected inputs by reason.")
    passed_over: dict[str, int] = Field({}, description="Files that are no inputs, by suffix or name.")
    groups: GroupCounts | None = Field(None, description="None where each sample is drawn by itself.")
    value_range: ValueRange | None = Field(None, description="Values that become black and white; None: full range.")
    narrow: list[NarrowValues] = Field([], description="Images whose values use at most 1/16 of that range.")

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, serialized: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was not asked for, so that the manifest is as it was before it could be."""
        values: dict[str, Any] = serialized(self)
        return {name: value for name, value in values.items() if name not in _OPTIONAL or value}

    @property
    def labeled(self) -> dict[str, int]:
        """Return how many samples of each split have a label."""
        return {split: sum(self.per_class[split].values()) for split in SPLITS}

    @property
    def quarantined_share(self) -> float:
        """Return the fraction of the inputs that was rejected."""
        return sum(self.quarantined.values()) / max(1, self.inputs)


def rows_schema(payload: str, *, grouped: bool) -> pa.Schema:
    """Return the columns of a split: id, payload under its name, label, and the group if there are groups."""
    columns = [*required(id=pa.binary(ID_BYTES), **{payload: pa.binary()}), pa.field("label", pa.string())]
    return pa.schema([*columns, *(required(group=pa.uint64()) if grouped else [])])


class SnapshotRow(NamedTuple):
    """One distinct sample: the columns of a split in their order."""

    id: bytes  # (32,) bytes, the sha256 of the payload.
    payload: bytes  # Such as an encoded image.
    label: str | None  # Name of its class; None without one.
    group: int | None  # uint64, the same for all samples that are kept in one split; None without groups.


def open_snapshot(path: Path) -> SnapshotRef:
    """Open the snapshot in a folder and compare every file with its checksum.

    Raises:
        IntegrityError: When a file is missing or changed, or the folder holds no snapshot.
    """
    verify(path)
    profile = snapshot_profile(path)
    shared = profile.model_dump(include={"name", "digest", "rows", "classes", "channels", "value_range"})
    return SnapshotRef(path=path.absolute(), quarantined=sum(profile.quarantined.values()), **shared)


def snapshot_profile(path: Path) -> SnapshotProfile:
    """Return what the manifest in a folder says about the content: counts, channel moments, sizes, quarantine.

    Raises:
        IntegrityError: When the manifest cannot be read, or describes no snapshot.
    """
    manifest = manifest_of(path)
    try:
        return SnapshotProfile.model_validate(manifest)
    except ValidationError as error:
        raise IntegrityError(
            f"{path / MANIFEST} does not describe a snapshot ({error.error_count()} fields are missing or wrong); "
            "give the folder of a snapshot, datasets/NAME/DIGEST, or ingest again"
        ) from error


def row_groups(snapshot: SnapshotRef, split: str) -> Iterator[list[SnapshotRow]]:
    """Yield the rows of a split, sorted by id, in lists of at most 1,024 rows or about 32 MiB.

    Only one list is in memory; the checksums are not compared again.
    """
    for part in sorted((snapshot.path / split).glob("part-*.parquet")):
        with pq.ParquetFile(part, memory_map=True) as file:
            for group in range(file.num_row_groups):
                rows = rows_of(file.read_row_group(group))
                if named := [SnapshotRow._make((*row, None)[:4]) for row in rows]:
                    yield named
