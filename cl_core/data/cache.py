"""Cache a snapshot's samples as arrays of one shape, so that training decodes nothing.

The arrays stay on the disk: they are mapped into memory, and read when they are used.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cl_core.artifact_dir import manifest_of, publish, staging, verify
from cl_core.columns import AnyColumn, Column, ColumnWriter, RaggedColumn, Split, mapped
from cl_core.data.snapshot import ID_BYTES, SPLITS, SnapshotRow, row_groups, snapshot_profile
from cl_core.data.worker_pool import map_batches
from cl_core.errors import IntegrityError
from cl_core.failpoints import failpoint
from cl_core.hashing.code_digest import code_digest
from cl_core.modalities import ArraySpec, Modality
from cl_core.refs import SnapshotRef

if TYPE_CHECKING:
    from torch import Tensor

    from cl_core.modalities._processor import Processor

_PROCESSOR = "processor.safetensors"
# Of a column whose rows have several lengths: their values one after another, and where each begins.
_VALUES, _OFFSETS = ".values", ".offsets"
_NO_ROWS: dict[str, NDArray[Any]] = {
    "id": np.empty((0, ID_BYTES), np.uint8),
    "label": np.empty(0, np.int32),
    "group": np.empty(0, np.uint64),
}
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

    The fitted processor is in it, too, since both follow from the same samples and options.

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
    profile = snapshot_profile(snapshot.path)
    array = array or modality.array_spec(profile.content)
    (column,) = modality.columns
    # A model on other values of the same samples has a cache of its own.
    final = caches.absolute() / f"{snapshot.digest}-{'x'.join(map(str, array.shape))}{modality.variant}"
    metadata = {
        "snapshot": snapshot.digest,
        "columns": [column],
        "dtype": array.dtype,
        "shape": list(array.shape),
        "rows": snapshot.rows,
        "classes": snapshot.classes,
        "code": code_digest(type(modality).__module__, alone=_CODE),
    }
    with contextlib.suppress(IntegrityError):
        if verify(final).items() >= metadata.items():
            return final
    grouped, count = profile.groups is not None, 0
    with staging(final.parent) as staged:
        for split in SPLITS:
            with contextlib.ExitStack() as files:
                layouts = _layouts(column, array, grouped=grouped, ragged=modality.ragged)
                writers = {
                    name: files.enter_context(ColumnWriter(staged / f"{split}.{name}.npy", **layout))
                    for name, layout in layouts.items()
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
        _save(
            modality.fit_processor(_split(staged, "train", [column], snapshot.classes, array), profile.content), staged
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
    return _split(cache, split, manifest["columns"], manifest["classes"], cached_array(cache))


def cached_array(cache: Path) -> ArraySpec:
    """Return what a row of a cache is."""
    manifest = manifest_of(cache)
    return ArraySpec(manifest["dtype"], tuple(manifest["shape"]))


def processor_state(cache: Path) -> "dict[str, Tensor]":
    """Return the buffers of the processor that was fitted to the training split of a cache."""
    from safetensors.torch import load_file

    return load_file(cache / _PROCESSOR)


def _save(processor: "Processor", folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(processor.state_dict(), folder / _PROCESSOR)


def _column(folder: Path, name: str, array: ArraySpec) -> AnyColumn:
    if (fixed := folder / f"{name}.npy").exists():
        return Column(mapped(fixed))
    offsets = mapped(folder / f"{name}{_OFFSETS}.npy")
    return RaggedColumn(mapped(folder / f"{name}{_VALUES}.npy"), offsets, longest=array.shape[0])


def _split(folder: Path, split: str, columns: Sequence[str], classes: Sequence[str], array: ArraySpec) -> Split:
    ids = mapped(folder / f"{split}.id.npy")
    groups = folder / f"{split}.group.npy"
    return Split(
        columns={name: _column(folder, f"{split}.{name}", array) for name in columns},
        ids=ids,
        sample_ids=ids[:, :8].copy().view(">u8")[:, 0].astype(np.uint64),
        labels=mapped(folder / f"{split}.label.npy").astype(np.int64) if classes else None,
        groups=mapped(groups).copy() if groups.exists() else None,
    )


def _layouts(column: str, array: ArraySpec, *, grouped: bool, ragged: bool) -> dict[str, dict[str, Any]]:
    """Return shape of a row and type of a value of each column; the label is the class's index or -1."""
    layouts: dict[str, dict[str, Any]] = {
        "id": {"shape": (ID_BYTES,), "dtype": np.uint8},
        "label": {"shape": (), "dtype": np.int32},
    }
    if ragged:
        layouts[column + _VALUES] = {"shape": array.shape[1:], "dtype": array.dtype}
        layouts[column + _OFFSETS] = {"shape": (), "dtype": np.int64}
    else:
        layouts[column] = {"shape": array.shape, "dtype": array.dtype}
    return layouts | ({"group": {"shape": (), "dtype": np.uint64}} if grouped else {})


def _arrays(
    snapshot: SnapshotRef, split: str, modality: Modality, array: ArraySpec, workers: int
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the rows of a split, a row group of the snapshot at a time."""
    decoded = partial(_decoded, modality=modality, array=array)
    (column,) = modality.columns
    classes: dict[str | None, int] = {name: index for index, name in enumerate(snapshot.classes)} | {None: -1}
    end = np.zeros(1, np.int64)
    if modality.ragged:
        yield {**_NO_ROWS, column + _VALUES: np.empty((0, *array.shape[1:]), array.dtype), column + _OFFSETS: end}
    for rows, (values, lengths) in map_batches(decoded, row_groups(snapshot, split), workers):
        arrays: dict[str, NDArray[Any]] = {
            "id": np.frombuffer(b"".join(row.id for row in rows), np.uint8).reshape(-1, ID_BYTES),
            "label": np.array([classes[row.label] for row in rows], np.int32),
            "group": np.array([row.group or 0 for row in rows], np.uint64),
        }
        if modality.ragged:
            offsets = end[-1:] + np.cumsum(lengths)
            end = offsets
            yield {**arrays, column + _VALUES: values, column + _OFFSETS: offsets}
        else:
            yield {**arrays, column: values}


def _decoded(rows: list[SnapshotRow], modality: Modality, array: ArraySpec) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return (n, *shape), the arrays of some rows; of ragged ones (t, ...), one after another, and (n,) lengths."""
    if modality.ragged:
        decoded = [modality.decode(row.payload, array) for row in rows]
        return np.concatenate(decoded), np.array(list(map(len, decoded)), np.int64)
    arrays = np.empty((len(rows), *array.shape), array.dtype)
    for one, row in zip(arrays, rows, strict=True):
        one[:] = modality.decode(row.payload, array)
    return arrays, np.empty(0, np.int64)
