"""Cache a snapshot's samples as arrays of one shape, so that training decodes nothing.

The arrays stay on the disk: they are mapped into memory, and read when they are used.
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
from cl_core.modalities import ArraySpec, Modality
from cl_core.refs import SnapshotRef

_CODE = ("cl_core.columns", "cl_core.data.cache", "cl_core.data.snapshot", "cl_core.tables")


def build_cache(
    snapshot: SnapshotRef,
    modality: Modality,
    *,
    array: ArraySpec | None = None,
    caches: Path,
    workers: int = 1,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Path:
    """Build the cache of a snapshot, unless it exists: an artifact directory of columns, `SPLIT.NAME.npy`.

    Args:
        snapshot: The samples.
        modality: Decodes their payloads.
        array: What they are decoded to; None for what the modality makes of this snapshot.
        caches: Folder of all caches.
        workers: Processes that decode.
        on_progress: Called with the number of samples decoded so far.

    Raises:
        IntegrityError: When the snapshot has lost rows since it was opened.
        StorageFullError: When the disk is full; no partial files remain.
        InfrastructureError: When a worker process is killed.
    """
    array = array or modality.array_spec({"channels": snapshot.channels})
    (column,) = modality.columns
    # A model on other values of the same samples has a cache of its own.
    final = caches.absolute() / f"{snapshot.digest}-{'x'.join(map(str, array.shape))}{modality.variant}"
    metadata = {
        "snapshot": snapshot.digest,
        "columns": [column],
        "shape": list(array.shape),
        "rows": snapshot.rows,
        "classes": snapshot.classes,
        "code": code_digest(type(modality).__module__, alone=_CODE),
    }
    with contextlib.suppress(IntegrityError):
        if verify(final).items() >= metadata.items():
            return final
    grouped, count = snapshot_profile(snapshot.path).groups is not None, 0
    with staging(final.parent) as staged:
        for split in SPLITS:
            with contextlib.ExitStack() as files:
                rows = snapshot.rows[split]
                writers = {
                    name: files.enter_context(ColumnWriter(staged / f"{split}.{name}.npy", rows=rows, **layout))
                    for name, layout in _layouts(column, array, grouped=grouped).items()
                }
                for arrays in _arrays(snapshot, split, modality, array, workers):
                    for name, writer in writers.items():
                        writer.add(arrays[name])
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
    """Open a split, whose arrays stay on the disk; `build_cache` has compared the checksums.

    Raises:
        IntegrityError: When the folder holds no cache.
    """
    manifest = manifest_of(cache)
    ids = mapped(cache / f"{split}.id.npy")
    groups = cache / f"{split}.group.npy"
    return Split(
        columns={name: Column(mapped(cache / f"{split}.{name}.npy")) for name in manifest["columns"]},
        ids=ids,
        sample_ids=ids[:, :8].copy().view(">u8")[:, 0].astype(np.uint64),
        labels=mapped(cache / f"{split}.label.npy").astype(np.int64) if manifest["classes"] else None,
        groups=mapped(groups).copy() if groups.exists() else None,
    )


def _layouts(column: str, array: ArraySpec, *, grouped: bool) -> dict[str, dict[str, Any]]:
    """Return shape of a row and type of a value of each column; the label is the class's index or -1."""
    layouts: dict[str, dict[str, Any]] = {
        "id": {"shape": (ID_BYTES,), "dtype": np.uint8},
        column: {"shape": array.shape, "dtype": array.dtype},
        "label": {"shape": (), "dtype": np.int32},
    }
    return layouts | ({"group": {"shape": (), "dtype": np.uint64}} if grouped else {})


def _arrays(
    snapshot: SnapshotRef, split: str, modality: Modality, array: ArraySpec, workers: int
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the rows of a split, a row group of the snapshot at a time."""
    decoded = partial(_decoded, modality=modality, array=array)
    (column,) = modality.columns
    classes: dict[str | None, int] = {name: index for index, name in enumerate(snapshot.classes)} | {None: -1}
    for rows, payloads in map_batches(decoded, row_groups(snapshot, split), workers):
        yield {
            "id": np.frombuffer(b"".join(row.id for row in rows), np.uint8).reshape(-1, ID_BYTES),
            column: payloads,
            "label": np.array([classes[row.label] for row in rows], np.int32),
            "group": np.array([row.group or 0 for row in rows], np.uint64),
        }


def _decoded(rows: list[SnapshotRow], modality: Modality, array: ArraySpec) -> NDArray[Any]:
    """Return (n, *shape): the arrays of some rows."""
    arrays = np.empty((len(rows), *array.shape), array.dtype)
    for one, row in zip(arrays, rows, strict=True):
        one[:] = modality.decode(row.payload, array)
    return arrays
