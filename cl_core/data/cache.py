"""Cache a snapshot's images as raw pixels of one size, so that training decodes nothing."""

import contextlib
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cl_core.artifact_dir import manifest_of, publish, staging, verify
from cl_core.code_digest import code_digest
from cl_core.data.snapshot import GROUP_ROWS, ID_BYTES, SPLITS, SnapshotRow, row_groups, snapshot_profile
from cl_core.data.worker_pool import map_batches
from cl_core.errors import DataError, IntegrityError
from cl_core.failpoints import failpoint
from cl_core.modalities.image import decode_image, to_shape
from cl_core.refs import SnapshotRef
from cl_core.specs import ValueRange
from cl_core.tables import byte_column, column_bytes, required

_CODE = ("cl_core.data.cache", "cl_core.data.snapshot", "cl_core.modalities.image", "cl_core.tables")
_SETTINGS: dict[str, Any] = {"compression": "NONE", "use_dictionary": False, "write_statistics": False}
_SPARE = 1.1  # Loading takes a row group beside the arrays.


@dataclass(frozen=True)
class ImageSplit:
    """A split in memory."""

    images: NDArray[np.uint8]  # (N, H, W, C) uint8.
    ids: NDArray[np.uint8]  # (N, 32) uint8, the sha256 of each encoded image; rows are sorted by it.
    sample_ids: NDArray[np.uint64]  # (N,) uint64, the leading 64 bits of the ids, big-endian.
    # (N,) int64, index into the snapshot's classes, -1 without a label; None when the dataset has none.
    labels: NDArray[np.int64] | None
    # (N,) uint64, the same for samples that are kept in one split; None when each sample is drawn by itself.
    groups: NDArray[np.uint64] | None = None

    def rows(self, chosen: NDArray[np.int64] | slice) -> "ImageSplit":
        """Select samples by position; a slice shares memory with this split."""
        labels = None if self.labels is None else self.labels[chosen]
        groups = None if self.groups is None else self.groups[chosen]
        return ImageSplit(self.images[chosen], self.ids[chosen], self.sample_ids[chosen], labels, groups)


def build_cache(
    snapshot: SnapshotRef,
    *,
    size: int,
    channels: int = 0,
    caches: Path,
    workers: int = 1,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Path:
    """Build the cache of a snapshot at a size, unless it exists: an artifact directory with a SPLIT.parquet per split.

    Each image's largest centered square is resampled to `size` (antialiased bicubic); an image of that size keeps its
    pixels. Grayscale images of a color dataset get three equal channels.

    Args:
        snapshot: The images.
        size: Side of the square, in pixels.
        channels: 1 or 3, as `to_shape` makes them; 0 for those of the snapshot.
        caches: Folder of all caches.
        workers: Processes that resize.
        on_progress: Called with the number of images resized so far.

    Raises:
        IntegrityError: When the snapshot has lost rows since it was opened.
        StorageFullError: When the disk is full; no partial files remain.
        InfrastructureError: When a worker process is killed.
    """
    shape = (size, size, channels or snapshot.channels)
    # A model on other values of the same samples has a cache of its own.
    values = "".join(f"-{value:.17g}" for value in snapshot.value_range or ())
    final = caches.absolute() / f"{snapshot.digest}-{'x'.join(map(str, shape))}{values}"
    metadata = {
        "snapshot": snapshot.digest,
        "shape": list(shape),
        "rows": snapshot.rows,
        "classes": snapshot.classes,
        "code": code_digest(alone=_CODE),
    }
    with contextlib.suppress(IntegrityError):
        if verify(final).items() >= metadata.items():
            return final
    columns, count = _schema(shape, grouped=snapshot_profile(snapshot.path).groups is not None), 0
    with staging(final.parent) as staged:
        for split in SPLITS:
            with pq.ParquetWriter(staged / f"{split}.parquet", columns, **_SETTINGS) as file:
                for table in _tables(snapshot, split, columns, shape, workers):
                    file.write_table(table, row_group_size=GROUP_ROWS)
                    count += table.num_rows
                    on_progress(count)
            failpoint("cache.split-written")
        if count != sum(snapshot.rows.values()):
            raise IntegrityError(
                f"{snapshot.path} holds {count:,} rows, but its manifest lists {sum(snapshot.rows.values()):,}; delete "
                "the folder and run again"
            )
        shutil.rmtree(final, ignore_errors=True)
        publish(staged, final, metadata)
    return final


def load_split(cache: Path, split: str) -> ImageSplit:
    """Load a whole split into one array, a row group at a time; `build_cache` has compared the checksums.

    Raises:
        DataError: When the pixels do not fit into the free memory.
        IntegrityError: When the folder holds no cache.
    """
    manifest = manifest_of(cache)
    rows, shape = manifest["rows"][split], tuple(manifest["shape"])
    _check_memory(split, rows, shape)
    images = np.empty((rows, *shape), np.uint8)
    ids = np.empty((rows, ID_BYTES), np.uint8)
    labels = np.empty(rows, np.int64)
    start = 0
    for batch_ids, batch_images, batch_labels in cached_groups(cache, split):
        stop = start + len(batch_ids)
        ids[start:stop], images[start:stop], labels[start:stop] = batch_ids, batch_images, batch_labels
        start = stop
    sample_ids = ids[:, :8].copy().view(">u8")[:, 0].astype(np.uint64)
    grouped = labels_and_groups(cache, split)
    groups = grouped[1] if grouped else None
    return ImageSplit(images, ids, sample_ids, labels if manifest["classes"] else None, groups)


def labels_and_groups(cache: Path, split: str) -> tuple[NDArray[np.int64], NDArray[np.uint64]] | None:
    """Return the labels of a split, -1 without one, and the groups, (N,) each; None when it has no groups."""
    with pq.ParquetFile(cache / f"{split}.parquet", memory_map=True) as file:
        if "group" not in file.schema_arrow.names:
            return None
        table = file.read(columns=["label", "group"])
    return table["label"].to_numpy().astype(np.int64), table["group"].to_numpy().copy()


def cached_groups(cache: Path, split: str) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int32]]]:
    """Yield ids (n, 32), images (n, H, W, C) and labels (n,) of a split, a row group of at most 1,024 at a time."""
    shape = tuple(manifest_of(cache)["shape"])
    with pq.ParquetFile(cache / f"{split}.parquet", memory_map=True) as file:
        for group in range(file.num_row_groups):
            for batch in file.read_row_group(group).to_batches():
                ids, images = column_bytes(batch.column("id")), column_bytes(batch.column("image"))
                yield ids, images.reshape(-1, *shape), batch.column("label").to_numpy()


def _tables(
    snapshot: SnapshotRef, split: str, schema: pa.Schema, shape: tuple[int, int, int], workers: int
) -> Iterator[pa.Table]:
    """Yield the rows of a split, a row group of the snapshot at a time."""
    resized = partial(_resized, shape=shape, value_range=snapshot.value_range)
    classes: dict[str | None, int] = {name: index for index, name in enumerate(snapshot.classes)} | {None: -1}
    for rows, images in map_batches(resized, row_groups(snapshot, split), workers):
        columns = [
            pa.array([row.id for row in rows], pa.binary(ID_BYTES)),
            byte_column(images.reshape(len(rows), -1)),
            pa.array([classes[row.label] for row in rows], pa.int32()),
        ]
        if "group" in schema.names:
            columns.append(pa.array([row.group for row in rows], pa.uint64()))
        yield pa.Table.from_arrays(columns, schema=schema)


def _schema(shape: tuple[int, int, int], *, grouped: bool) -> pa.Schema:
    """Return the columns: raw uint8 pixels (H, W, C) of one `shape`, the class's index or -1, and the group if any."""
    columns = required(id=pa.binary(ID_BYTES), image=pa.binary(math.prod(shape)), label=pa.int32())
    columns += required(group=pa.uint64()) if grouped else []
    return pa.schema(columns, metadata={"shape": ",".join(map(str, shape))})


def _resized(rows: list[SnapshotRow], shape: tuple[int, int, int], value_range: ValueRange | None) -> NDArray[np.uint8]:
    """Return (n, H, W, C) uint8: the images of some rows at `shape`."""
    images = np.empty((len(rows), *shape), np.uint8)
    for image, row in zip(images, rows, strict=True):
        image[:] = to_shape(decode_image(row.payload, value_range)[0], shape)
    return images


def _check_memory(split: str, rows: int, shape: tuple[int, ...]) -> None:
    needed = int(_SPARE * rows * (math.prod(shape) + ID_BYTES + 16))
    free = psutil.virtual_memory().available
    if needed > free:
        raise DataError(
            f"the {split} split needs {needed / 2**30:.3g} GiB of memory ({rows:,} images of "
            f"{'x'.join(map(str, shape))} bytes), but {free / 2**30:.3g} GiB are free; "
            "use a smaller data.image_size, or a machine with more memory"
        )
