"""Cache a snapshot's samples as arrays, those of each column in files of their own, so that training decodes nothing.

The arrays stay on the disk: they are mapped into memory, and read when they are used.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cl_core.artifact_dir import manifest_of, publish, staging, verify
from cl_core.columns import AnyColumn, Column, Columns, RaggedColumn, Split
from cl_core.data.column_files import ColumnWriter, mapped
from cl_core.data.connected import U64, links, merged
from cl_core.data.snapshot import ID_BYTES, SPLITS, SnapshotRow, row_groups, snapshot_profile
from cl_core.data.worker_pool import map_batches
from cl_core.errors import IntegrityError
from cl_core.failpoints import failpoint
from cl_core.hashing.code_digest import code_digest
from cl_core.modalities import ArraySpec, Modality, Specs
from cl_core.refs import SnapshotRef

if TYPE_CHECKING:
    from torch import Tensor

    from cl_core.modalities._processor import Processor

_PROCESSOR = "processor.safetensors"
# Of a column whose rows have several lengths: their values one after another, and where each begins.
_VALUES, _OFFSETS = ".values", ".offsets"
# Written only if samples may be the same thing although their contents differ.
_IDENTITY = "identity"
_DECODED_BYTES = 1 << 23  # Of the rows that are decoded together; a few such batches are in memory.
_CODE = (
    "cl_core.columns",
    "cl_core.data.cache",
    "cl_core.data.column_files",
    "cl_core.data.connected",
    "cl_core.data.snapshot",
    "cl_core.tables",
)


def build_cache(
    snapshot: SnapshotRef,
    modality: Modality,
    *,
    arrays: Specs | None = None,
    caches: Path,
    workers: int = 1,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Path:
    """Build the cache of a snapshot, unless it exists: an artifact directory of columns, `SPLIT.NAME.npy`.

    The fitted processor is in it, too, since both follow from the same samples and options.

    Args:
        snapshot: The samples.
        modality: Decodes their payloads.
        arrays: What they are decoded to; None for what the modality makes of this snapshot.
        caches: Folder of all caches.
        workers: Threads that decode; 0 takes one for each CPU.
        on_progress: Called with the number of samples decoded so far.

    Raises:
        IntegrityError: When the snapshot has lost rows since it was opened.
        StorageFullError: When the disk is full; no partial files remain.
    """
    profile = snapshot_profile(snapshot.path)
    arrays = arrays or modality.array_specs(profile.content)
    # A model on other values of the same samples has a cache of its own.
    shapes = "+".join("x".join(map(str, array.shape)) for array in arrays)
    final = caches.absolute() / f"{snapshot.digest}-{shapes}{modality.variant}"
    metadata: dict[str, Any] = {
        "snapshot": snapshot.digest,
        "columns": [kind.name for kind in modality.columns],
        "dtypes": [array.dtype for array in arrays],
        "shapes": [list(array.shape) for array in arrays],
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
            for rows in _write_split(staged, snapshot, split, modality, arrays, grouped=grouped, workers=workers):
                count += rows
                on_progress(count)
            failpoint("cache.split-written")
        if count != sum(snapshot.rows.values()):
            raise IntegrityError(
                f"{snapshot.path} holds {count:,} rows, but its manifest lists {sum(snapshot.rows.values()):,}; delete "
                "the folder and run again"
            )
        train = _split(staged, "train", metadata["columns"], snapshot.classes, arrays)
        _save(modality.fit_processor(train, profile.content), staged)
        shutil.rmtree(final, ignore_errors=True)
        publish(staged, final, metadata)
    return final


def load_split(cache: Path, split: str) -> Split:
    """Open a split, whose arrays stay on the disk; `build_cache` has compared the checksums.

    Raises:
        IntegrityError: When the folder holds no cache.
    """
    manifest = manifest_of(cache)
    return _split(cache, split, manifest["columns"], manifest["classes"], cached_arrays(cache))


def cached_arrays(cache: Path) -> Specs:
    """Return what a row of a cache is."""
    manifest = manifest_of(cache)
    return tuple(map(ArraySpec, manifest["dtypes"], map(tuple, manifest["shapes"])))


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


def _split(folder: Path, split: str, columns: Iterable[str], classes: Sequence[str], arrays: Specs) -> Split:
    ids = mapped(folder / f"{split}.id.npy")
    groups, identities = (folder / f"{split}.{name}.npy" for name in ("group", _IDENTITY))
    named = zip(columns, arrays, strict=True)
    return Split(
        columns=Columns({name: _column(folder, f"{split}.{name}", array) for name, array in named}),
        ids=ids,
        sample_ids=_leading_bits(ids),
        labels=mapped(folder / f"{split}.label.npy").astype(np.int64) if classes else None,
        groups=mapped(groups).copy() if groups.exists() else None,
        identities=mapped(identities).copy() if identities.exists() else None,
    )


def _leading_bits(ids: NDArray[np.uint8]) -> U64:
    return ids[:, :8].copy().view(">u8")[:, 0].astype(np.uint64)


def _layouts(modality: Modality, arrays: Specs, *, grouped: bool) -> dict[str, dict[str, Any]]:
    """Return shape of a row and type of a value of each file; the label is the class's index or -1."""
    layouts: dict[str, dict[str, Any]] = {
        "id": {"shape": (ID_BYTES,), "dtype": np.uint8},
        "label": {"shape": (), "dtype": np.int32},
    }
    for kind, (dtype, shape) in zip(modality.columns, arrays, strict=True):
        if kind.ragged:
            layouts[kind.name + _VALUES] = {"shape": shape[1:], "dtype": dtype}
            layouts[kind.name + _OFFSETS] = {"shape": (), "dtype": np.int64}
        else:
            layouts[kind.name] = {"shape": shape, "dtype": dtype}
    return layouts | ({"group": {"shape": (), "dtype": np.uint64}} if grouped else {})


def _write_split(
    folder: Path,
    snapshot: SnapshotRef,
    split: str,
    modality: Modality,
    arrays: Specs,
    *,
    grouped: bool,
    workers: int,
) -> Iterator[int]:
    """Write the files of a split; yield the number of samples of each batch once it is written."""
    classes: dict[str | None, int] = {name: index for index, name in enumerate(snapshot.classes)} | {None: -1}
    decode, count = partial(_decoded, modality=modality, arrays=arrays), 0
    groups, at_once = row_groups(snapshot, split), max(1, _DECODED_BYTES // sum(array.row_bytes for array in arrays))
    batches = (group[start : start + at_once] for group in groups for start in range(0, len(group), at_once))
    owners, identities = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    with contextlib.ExitStack() as files:
        writers = {
            name: files.enter_context(ColumnWriter(folder / f"{split}.{name}.npy", **layout))
            for name, layout in _layouts(modality, arrays, grouped=grouped).items()
        }
        ends = {kind.name + _OFFSETS: np.zeros(1, np.int64) for kind in modality.columns if kind.ragged}
        for name, end in ends.items():
            writers[name].add(end)
        for rows, decoded in map_batches(decode, batches, workers):
            columns: dict[str, NDArray[Any]] = {
                **decoded.columns,
                "id": np.frombuffer(b"".join(row.id for row in rows), np.uint8).reshape(-1, ID_BYTES),
                "label": np.array([classes[row.label] for row in rows], np.int32),
                "group": np.array([row.group or 0 for row in rows], np.uint64),
            }
            for name, end in ends.items():
                columns[name] = columns[name] + end
                end[:] = columns[name][-1]
            for name, writer in writers.items():
                writer.add(columns[name])
            owners.append(decoded.owners + count)
            identities.append(decoded.identities)
            count += len(rows)
            yield len(rows)
    if any(map(len, identities)):
        sample_ids = _leading_bits(mapped(folder / f"{split}.id.npy"))
        same = merged(np.arange(count), *links(np.concatenate(owners), np.concatenate(identities)))
        np.save(folder / f"{split}.{_IDENTITY}.npy", sample_ids[same])


class _Decoded(NamedTuple):
    """What some rows of a snapshot are decoded to."""

    columns: dict[str, NDArray[Any]]  # By file: (n, *shape), or (t, ...) values and (n,) where each row ends in them.
    owners: NDArray[np.int64]  # (K,) the row that has each identity.
    identities: U64  # (K,)


def _decoded(rows: list[SnapshotRow], modality: Modality, arrays: Specs) -> _Decoded:
    columns: dict[str, Any] = {
        kind.name: [None] * len(rows) if kind.ragged else np.empty((len(rows), *array.shape), array.dtype)
        for kind, array in zip(modality.columns, arrays, strict=True)
    }
    for number, row in enumerate(rows):
        for kind, part in zip(modality.columns, modality.decode(row.payload, arrays), strict=True):
            columns[kind.name][number] = part
    for kind in modality.columns:
        if kind.ragged:
            parts = columns.pop(kind.name)
            columns[kind.name + _VALUES] = np.concatenate(parts)
            columns[kind.name + _OFFSETS] = np.cumsum(list(map(len, parts)))
    identities = [modality.identities(row.payload) for row in rows]
    owners = np.repeat(np.arange(len(rows)), list(map(len, identities)))
    return _Decoded(columns, owners, np.frombuffer(b"".join(chain.from_iterable(identities)), np.uint64))
