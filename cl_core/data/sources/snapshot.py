"""An existing snapshot: its unique samples, with their labels and splits."""

from collections.abc import Iterator, Mapping
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pydantic import PrivateAttr

from cl_core.artifact_dir import MANIFEST, manifest_of
from cl_core.data.path_roots import confined
from cl_core.data.snapshot import ID_BYTES, SPLITS, open_snapshot, payload_columns, row_groups, snapshot_profile
from cl_core.data.sources import RawSample, Source, unchanged
from cl_core.errors import DataError, IntegrityError
from cl_core.hashing import file_sha256
from cl_core.modalities import joined
from cl_core.registry import SOURCES
from cl_core.tables import rows_of

# What a source of tables gives beside the rows.
_OF_COLUMNS = ("columns", "column_widths")


@SOURCES.register("snapshot")
class SnapshotFolder(Source):
    """The folder of a snapshot, `datasets/NAME/DIGEST` under CL_HOME. A sample's origin is that of its first copy."""

    modalities: ClassVar[tuple[str, ...]] = ()

    splits: Literal["both", "train", "test"] = "both"
    """Which samples are read."""

    _content: dict[str, Any] = PrivateAttr(default_factory=dict)

    def fingerprint(self, location: str) -> str:
        """Return the checksum of the manifest, which holds those of all files."""
        return file_sha256(_folder(location) / MANIFEST)

    def samples(self, location: str) -> Iterator[RawSample]:
        """Yield the rows of the test split, then of the training split, each sorted by id; compare checksums first."""
        snapshot = open_snapshot(_folder(location))
        if self._modality != snapshot.modality:
            raise DataError(
                f"data.location: {location} is a snapshot of {snapshot.modality}, not of {self._modality}; give "
                "another snapshot"
            )
        content = snapshot_profile(snapshot.path).content
        self._content.update({name: content[name] for name in _OF_COLUMNS if name in content})
        for split in self._selected:
            origins = _origins(snapshot.path, split)
            for row in chain.from_iterable(row_groups(snapshot, split)):
                sample, origin = next(origins, (b"", ""))
                if sample != row.id:
                    raise IntegrityError(
                        f"{snapshot.path / 'sources.parquet'} does not list the {split} samples in their order; "
                        "ingest the source again"
                    )
                yield RawSample(row.payload, row.label, split, origin)

    def content(self) -> dict[str, Any]:
        """Return what the snapshot's own source knew of columns."""
        return dict(self._content)

    def number_of_inputs(self, location: str) -> int:
        """Return the number of rows in the manifest."""
        rows = manifest_of(_folder(location))["rows"]
        return sum(rows[split] for split in self._selected)

    def find(self, location: str, origins: Mapping[bytes, str]) -> dict[bytes, bytes]:
        """Look up the ids."""
        path = _folder(location)
        parts = [str(part) for split in self._selected for part in (path / split).glob("part-*.parquet")]
        ids = pa.array(list(origins), pa.binary(ID_BYTES))
        rows = ds.dataset(parts, format="parquet")
        table = rows.to_table(columns=payload_columns(rows.schema), filter=ds.field("id").isin(ids))
        return unchanged(map(joined, rows_of(table)), origins)

    @property
    def _selected(self) -> tuple[str, ...]:
        return SPLITS if self.splits == "both" else (self.splits,)


def _folder(location: str) -> Path:
    path = confined(location, field="data.location")
    if not location or not (path / MANIFEST).is_file():
        raise DataError(
            f"data.location: {location!r} is not a snapshot; give its folder, datasets/NAME/DIGEST under CL_HOME, as "
            "`cl ingest` prints it"
        )
    return path


def _origins(snapshot: Path, split: str) -> Iterator[tuple[bytes, str]]:
    """Yield the id of each sample of a split, sorted, and the origin of its first copy."""
    with pq.ParquetFile(snapshot / "sources.parquet") as file:
        batches = file.iter_batches(columns=["id", "split", "origin"])
        rows = (row for batch in batches for row in rows_of(batch) if row[1] == split)
        for sample, copies in groupby(rows, key=itemgetter(0)):
            yield sample, next(copies)[2]
