"""Inspect every input of a source and sort it with the valid, the unchanged or the rejected inputs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cl_core.data.ingest.external_sort import ExternalSort
from cl_core.data.ingest.incremental_index import Counts, IndexEntry
from cl_core.data.ingest.inspection import Input, Unchanged, inspect_payloads
from cl_core.data.ingest.row_group_writer import RowGroupWriter
from cl_core.data.ingest.schemas import INPUTS, UNCHANGED_INPUTS
from cl_core.data.snapshot import QUARANTINE_TABLE, SPLITS
from cl_core.data.sources import RawSample, Unreadable
from cl_core.data.worker_pool import map_batches
from cl_core.errors import DataError
from cl_core.failpoints import failpoint
from cl_core.modalities.image import Rejected

AnyInput = TypeVar("AnyInput", bound=Input)

_BATCH_ROWS = 256
_BATCH_BYTES = 1 << 23


@dataclass(frozen=True)
class SortBuffers:
    """One external sort for each kind of input.

    Args:
        valid: `INPUTS` that can be decoded.
        unchanged: `UNCHANGED_INPUTS`: valid, and an earlier snapshot holds their payload.
        rejected: `QUARANTINE_TABLE`: the others.
    """

    valid: ExternalSort
    unchanged: ExternalSort
    rejected: ExternalSort

    @classmethod
    def under(cls, folder: Path, *, run_bytes: int) -> "SortBuffers":
        """Create empty sorts that keep their runs below one folder."""
        return cls(
            valid=ExternalSort(INPUTS, keys=4, folder=folder / "valid", run_bytes=run_bytes),
            unchanged=ExternalSort(UNCHANGED_INPUTS, keys=4, folder=folder / "unchanged", run_bytes=run_bytes),
            rejected=ExternalSort(QUARANTINE_TABLE, keys=3, folder=folder / "rejected", run_bytes=run_bytes),
        )


def collect_inputs(
    inputs: Iterable[Input],
    *,
    test_share: float,
    buffers: SortBuffers,
    index: RowGroupWriter,
    counts: Counts,
    workers: int,
    on_progress: Callable[[int], None],
) -> None:
    """Inspect all inputs, add them to the sorts, and write the listed inputs to the index.

    Args:
        inputs: Any number, taken one at a time.
        test_share: Fraction that the content's hash sends to the test split where an input names none.
        buffers: Take the inputs.
        index: Takes an entry for each listed input, in the order of the inputs.
        counts: Of inputs that were read and that are unchanged; raised here.
        workers: Processes that decode.
        on_progress: Called with the number of inputs inspected so far.
    """
    for batch, results in map_batches(inspect_payloads, input_batches(inputs), workers):
        valid, unchanged, rejected = [], [], []
        for item, result in zip(batch, results, strict=True):
            source = item.listed if isinstance(item, Unchanged) else item
            if item.listed is not None:
                index.add(IndexEntry.of(item.listed, result))
            if isinstance(result, Rejected):
                rejected.append((source.origin, result.reason, result.detail))
                continue
            assert not isinstance(source, Unreadable)
            split = source.split or split_by_hash(result.id, test_share)
            row = (result.id, split, source.origin, source.label or "")
            if isinstance(item, RawSample):
                valid.append((*row, item.payload, *result[1:]))
            else:
                unchanged.append((*row, *result[1:]))
        for sort, rows in ((buffers.valid, valid), (buffers.unchanged, unchanged), (buffers.rejected, rejected)):
            _add(sort, rows)
        unchanged_count = sum(isinstance(item, Unchanged) for item in batch)
        counts.unchanged += unchanged_count
        counts.read += len(batch) - unchanged_count
        failpoint("ingest.inputs-checked")
        on_progress(counts.unchanged + counts.read)


def _add(sort: ExternalSort, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        sort.add(list(zip(*rows, strict=True)))


def split_by_hash(sample: bytes, test_share: float) -> str:
    """Return the split that a sample's id alone decides: the same for every copy, and in every later snapshot.

    Args:
        sample: (32,) bytes, the sha256 of the content.
        test_share: Fraction of the range of ids that is `test`.
    """
    return "test" if int.from_bytes(sample[:8], "big") < test_share * 2**64 else "train"


def input_batches(inputs: Iterable[AnyInput], *, rows: int = _BATCH_ROWS) -> Iterator[list[AnyInput]]:
    """Yield inputs in lists of at most `rows`, and about 8 MiB.

    Raises:
        DataError: When an input names an unknown split.
    """
    batch: list[AnyInput] = []
    size = 0
    for item in inputs:
        batch.append(item)
        source = item.listed if isinstance(item, Unchanged) else item
        if not isinstance(source, Unreadable) and source.split and source.split not in SPLITS:
            raise DataError(
                f"{source.origin} is in a split named {source.split!r}; a source names {' or '.join(SPLITS)}, "
                "or leaves the split empty for the content's hash to decide"
            )
        size += len(item.payload) if isinstance(item, RawSample) else 0
        if len(batch) == rows or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
