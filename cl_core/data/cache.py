"""Cache a snapshot's images as raw pixels of one size, so that training decodes nothing.

The pixels stay on the disk: they are mapped into memory, and read when they are used.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_core.artifact_dir import manifest_of, publish, staging, verify
from cl_core.code_digest import code_digest
from cl_core.columns import Column, ColumnWriter, Split, mapped
from cl_core.data.snapshot import ID_BYTES, SPLITS, SnapshotRow, row_groups, snapshot_profile
from cl_core.data.worker_pool import map_batches
from cl_core.errors import IntegrityError
from cl_core.failpoints import failpoint
from cl_core.modalities.image import decode_image, to_shape
from cl_core.refs import SnapshotRef
from cl_core.specs import ValueRange

_CODE = ("cl_core.columns", "cl_core.data.cache", "cl_core.data.snapshot", "cl_core.modalities.image", "cl_core.tables")
COLUMN = "image"


def build_cache(
    snapshot: SnapshotRef,
    *,
    size: int,
    channels: int = 0,
    caches: Path,
    workers: int = 1,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Path:
    """Build the cache of a snapshot at a size, unless it exists: an artifact directory of columns, `SPLIT.NAME.npy`.

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
    grouped, count = snapshot_profile(snapshot.path).groups is not None, 0
    with staging(final.parent) as staged:
        for split in SPLITS:
            with contextlib.ExitStack() as files:
                rows = snapshot.rows[split]
                columns = {
                    name: files.enter_context(ColumnWriter(staged / f"{split}.{name}.npy", rows=rows, **layout))
                    for name, layout in _layouts(shape, grouped=grouped).items()
                }
                for arrays in _arrays(snapshot, split, shape, workers):
                    for name, column in columns.items():
                        column.add(arrays[name])
                    count += len(arrays["id"])
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


def load_split(cache: Path, split: str) -> Split:
    """Open a split, whose images stay on the disk; `build_cache` has compared the checksums.

    Raises:
        IntegrityError: When the folder holds no cache.
    """
    manifest = manifest_of(cache)
    ids = mapped(cache / f"{split}.id.npy")
    groups = cache / f"{split}.group.npy"
    return Split(
        columns={COLUMN: Column(mapped(cache / f"{split}.{COLUMN}.npy"))},
        ids=ids,
        sample_ids=ids[:, :8].copy().view(">u8")[:, 0].astype(np.uint64),
        labels=mapped(cache / f"{split}.label.npy").astype(np.int64) if manifest["classes"] else None,
        groups=mapped(groups).copy() if groups.exists() else None,
    )


def _layouts(shape: tuple[int, int, int], *, grouped: bool) -> dict[str, dict[str, Any]]:
    """Return shape of a row and type of a value of each column: pixels, and of the label the class's index or -1."""
    layouts: dict[str, dict[str, Any]] = {
        "id": {"shape": (ID_BYTES,), "dtype": np.uint8},
        COLUMN: {"shape": shape, "dtype": np.uint8},
        "label": {"shape": (), "dtype": np.int32},
    }
    return layouts | ({"group": {"shape": (), "dtype": np.uint64}} if grouped else {})


def _arrays(
    snapshot: SnapshotRef, split: str, shape: tuple[int, int, int], workers: int
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the rows of a split, a row group of the snapshot at a time."""
    resized = partial(_resized, shape=shape, value_range=snapshot.value_range)
    classes: dict[str | None, int] = {name: index for index, name in enumerate(snapshot.classes)} | {None: -1}
    for rows, images in map_batches(resized, row_groups(snapshot, split), workers):
        yield {
            "id": np.frombuffer(b"".join(row.id for row in rows), np.uint8).reshape(-1, ID_BYTES),
            COLUMN: images,
            "label": np.array([classes[row.label] for row in rows], np.int32),
            "group": np.array([row.group or 0 for row in rows], np.uint64),
        }


def _resized(rows: list[SnapshotRow], shape: tuple[int, int, int], value_range: ValueRange | None) -> NDArray[np.uint8]:
    """Return (n, H, W, C) uint8: the images of some rows at `shape`."""
    images = np.empty((len(rows), *shape), np.uint8)
    for image, row in zip(images, rows, strict=True):
        image[:] = to_shape(decode_image(row.payload, value_range)[0], shape)
    return images
