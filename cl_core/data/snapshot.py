"""Reading a snapshot: verified when it is opened, then a row group at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
from pydantic import ValidationError

from cl_core.artifact_dir import MANIFEST, manifest_of, verify
from cl_core.data.profile import SnapshotFacts
from cl_core.errors import IntegrityError
from cl_core.refs import SnapshotRef


class SnapshotRow(NamedTuple):
    """One distinct sample.

    Args:
        id: (32,) bytes, the sha256 of the payload.
        payload: Encoded image.
        label: Name of its class; None without one.
    """

    id: bytes
    payload: bytes
    label: str | None


def open_snapshot(path: Path) -> SnapshotRef:
    """The snapshot in a folder, every file compared with its checksum.

    Raises:
        IntegrityError: When a file is missing or changed, or the folder holds no snapshot.
    """
    verify(path)
    facts = _facts(path)
    return SnapshotRef(
        name=facts.name,
        digest=facts.digest,
        path=path.absolute(),
        rows=facts.rows,
        classes=facts.classes,
        channels=facts.channels,
        quarantined=sum(facts.quarantined.values()),
    )


def snapshot_facts(snapshot: SnapshotRef) -> SnapshotFacts:
    """What the manifest says of the content: counts, channel moments, sizes, formats, quarantine.

    Raises:
        IntegrityError: When the manifest cannot be read.
    """
    return _facts(snapshot.path)


def row_groups(snapshot: SnapshotRef, split: str) -> Iterator[list[SnapshotRow]]:
    """The rows of a split, sorted by id, in lists of at most 1,024 rows or about 32 MiB.

    Only one list is in memory; the checksums are not compared again.
    """
    for part in sorted((snapshot.path / split).glob("part-*.parquet")):
        with pq.ParquetFile(part, memory_map=True) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=["id", "image", "label"])
                columns = [column.to_pylist() for column in table.columns]
                if table.num_rows:
                    yield [SnapshotRow(*row) for row in zip(*columns, strict=True)]


def _facts(path: Path) -> SnapshotFacts:
    manifest = manifest_of(path)
    try:
        return SnapshotFacts.model_validate(manifest)
    except ValidationError as error:
        raise IntegrityError(
            f"{path / MANIFEST} does not describe a snapshot ({error.error_count()} fields are missing or wrong); "
            "give the folder of a snapshot, datasets/NAME/DIGEST, or ingest again"
        ) from error
