"""Snapshots: the columns of their files, their manifest, and how they are read.

A snapshot is an ingested dataset, immutable, in `datasets/NAME/DIGEST/`. It is verified when it is opened and read a
row group at a time.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from cl_core.artifact_dir import MANIFEST, manifest_of, verify
from cl_core.errors import IntegrityError
from cl_core.modalities import Modality, joined
from cl_core.refs import IMAGE, Ref, SnapshotRef
from cl_core.registry import MODALITIES
from cl_core.tables import required, rows_of

FORMAT_VERSION = 1  # Part of every digest: raise it when the same content should count as another snapshot.

SPLITS = ("test", "train")
IN_TEST_SPLIT: Final = "in_test_split"
"""Reason of quarantine of a training input whose copy is tested on: nothing is wrong with it."""

ID_BYTES = 32

GROUP_ROWS = 1024
GROUP_BYTES = 1 << 25  # One row costs its whole group, and more than 2 GB in one group breaks Arrow's offsets.
FILE_BYTES = 1 << 28

# Payloads such as encoded images do not compress and have no repeats; their least and greatest say nothing, and bloat
# the footer.
ROWS_SETTINGS: dict[str, Any] = {"compression": "NONE", "use_dictionary": ["label"], "write_statistics": ["id"]}

SOURCES_TABLE = pa.schema(required(id=pa.binary(ID_BYTES), split=pa.string(), origin=pa.string()))
QUARANTINE_TABLE = pa.schema(required(origin=pa.string(), reason=pa.string(), detail=pa.string()))
TEXT_SETTINGS: dict[str, Any] = {"compression": "ZSTD", "use_dictionary": ["split", "reason"]}


_NOT_CONTENT = ("files", "image_bytes")
"""Keys of a manifest that are no fields of the profile, or not under their present name."""


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
    """What a snapshot's manifest says about its content.

    A manifest has the fields of the modality beside those of every snapshot.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    modality: str = Field(IMAGE, description="Kind of the payloads; absent in manifests of images.")
    name: str
    digest: str = Field(description="Of the ids, labels and splits of all rows, 64 hexadecimal digits.")
    rows: dict[str, int] = Field(description="Distinct samples per split.")
    classes: list[str] = Field(description="Sorted; empty without labels.")
    per_class: dict[str, dict[str, int]] = Field(description="Labeled samples per split and class.")
    unlabelled: dict[str, int] = Field(description="Samples without a label, per split.")
    content: dict[str, Any] = Field(description="What the modality knows of the payloads.")
    formats: dict[str, int] = Field(description="Samples per file format.")
    payload_bytes: int = Field(description="Size of all payloads.")
    inputs: int = Field(description="What the source delivered, duplicates and rejected inputs included.")
    duplicates: int = Field(description="Copies merged into another row of the same split.")
    leaked: int = Field(
        description="Contents whose training copies are quarantined, because the test split has the same thing."
    )
    quarantined: dict[str, int] = Field(description="Rejected inputs by reason.")
    passed_over: dict[str, int] = Field({}, description="Files that are no inputs, by suffix or name.")
    groups: GroupCounts | None = Field(None, description="None where each sample is drawn by itself.")

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, values: Any) -> Any:
        """Gather what the manifest has beside the fields of every snapshot."""
        if not isinstance(values, dict) or "content" in values:
            return values
        own = {name: value for name, value in values.items() if name in cls.model_fields}
        content = {name: value for name, value in values.items() if name not in (*own, *_NOT_CONTENT)}
        return {**own, "payload_bytes": values.get("image_bytes", values.get("payload_bytes")), "content": content}

    @model_serializer(mode="wrap")
    def _as_manifest(self, serialized: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was not asked for, so that a manifest of images is as it was before there was more."""
        values: dict[str, Any] = serialized(self)
        if not values["groups"]:
            del values["groups"]
        if self.modality == IMAGE:
            del values["modality"]
            values["image_bytes"] = values.pop("payload_bytes")
        content: dict[str, Any] = values.pop("content")
        return values | content

    @property
    def kind(self) -> Modality:
        """Return the modality that its content is described by."""
        modality: Modality = MODALITIES.build(self.modality, {}, field="modality")
        return modality

    @property
    def quarantined_share(self) -> float:
        """Return the fraction of the inputs that was rejected."""
        return sum(self.quarantined.values()) / max(1, self.inputs)


def rows_schema(payload: Iterable[str], *, grouped: bool) -> pa.Schema:
    """Return the columns of a split: id, those of the payload, label, and the group if there are groups."""
    parts = dict.fromkeys(payload, pa.binary())
    columns = [*required(id=pa.binary(ID_BYTES), **parts), pa.field("label", pa.string())]
    return pa.schema([*columns, *(required(group=pa.uint64()) if grouped else [])])


def payload_columns(columns: pa.Schema) -> list[str]:
    """Return the names of those columns of a split that hold payloads, a part each; their order is the modality's."""
    names: list[str] = columns.names
    return names[1 : names.index("label")]


class SnapshotRow(NamedTuple):
    """One distinct sample."""

    id: bytes  # (32,) bytes, the sha256 of the payload.
    payload: bytes  # Such as an encoded image; of several columns the parts, joined.
    label: str | None  # Name of its class; None without one.
    group: int | None  # uint64, the same for all samples that are kept in one split; None without groups.


def open_snapshot(path: Path) -> SnapshotRef:
    """Open the snapshot in a folder and compare every file with its checksum.

    Raises:
        IntegrityError: When a file is missing or changed, or the folder holds no snapshot.
    """
    verify(path)
    profile = snapshot_profile(path)
    return SnapshotRef(
        path=path.absolute(),
        name=profile.name,
        digest=profile.digest,
        rows=profile.rows,
        classes=profile.classes,
        quarantined=sum(profile.quarantined.values()),
        modality=profile.modality,
    )


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
        with pq.ParquetFile(part, pre_buffer=False) as file:  # Of a mapped file all that was read would stay resident.
            label = 1 + len(payload_columns(file.schema_arrow))
            for group in range(file.num_row_groups):
                rows = rows_of(file.read_row_group(group))
                if named := [SnapshotRow(row[0], joined(row[1:label]), *(*row[label:], None)[:2]) for row in rows]:
                    yield named
