"""Gathering: every input of a source is checked, and joins the sound, the recalled or the rejected ones."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cl_core import failpoints
from cl_core.data.ingest.external_sort import ExternalSort
from cl_core.data.ingest.incremental_index import Counts, IndexEntry
from cl_core.data.ingest.inspection import Input, Unchanged, inspect_payloads
from cl_core.data.ingest.row_groups import RowGroupWriter
from cl_core.data.schema import INPUTS, QUARANTINE_TABLE, RECALLED, SPLITS
from cl_core.data.sources import RawSample, Unreadable
from cl_core.data.worker_pool import map_batches
from cl_core.errors import DataError
from cl_core.modalities.decode import Rejected

Given = TypeVar("Given", bound=Input)

_BATCH_ROWS = 256
_BATCH_BYTES = 1 << 23


@dataclass(frozen=True)
class SortBuffers:
    """Where inputs go, each kind into a sort of its own.

    Args:
        sound: `INPUTS` that can be decoded.
        recalled: `RECALLED`: sound, and their payload is in an earlier snapshot.
        rejected: `QUARANTINE_TABLE`: the others.
    """

    sound: ExternalSort
    recalled: ExternalSort
    rejected: ExternalSort

    @classmethod
    def under(cls, folder: Path, *, run_bytes: int) -> "SortBuffers":
        """Empty sorts that keep their runs in folders below one."""
        return cls(
            sound=ExternalSort(INPUTS, keys=4, folder=folder / "sound", run_bytes=run_bytes),
            recalled=ExternalSort(RECALLED, keys=4, folder=folder / "recalled", run_bytes=run_bytes),
            rejected=ExternalSort(QUARANTINE_TABLE, keys=3, folder=folder / "rejected", run_bytes=run_bytes),
        )


def collect_inputs(
    given: Iterable[Input],
    *,
    test_share: float,
    into: SortBuffers,
    notes: RowGroupWriter,
    counts: Counts,
    workers: int,
    on_progress: Callable[[int], None],
) -> None:
    """Check all inputs, hand them to the sorts, and note what was found in those that were listed.

    Args:
        given: Any number of inputs, taken one at a time.
        test_share: Fraction that the content's hash sends to the test split where an input names none.
        into: Takes the inputs.
        notes: Takes what the next ingestion may know of them, in the order of the inputs.
        counts: Of inputs that were read and that were known; raised here.
        workers: Processes that decode.
        on_progress: Called with the number of inputs checked so far.
    """
    for batch, findings in map_batches(inspect_payloads, batches(given), workers):
        sound, recalled, rejected = [], [], []
        for each, found in zip(batch, findings, strict=True):
            told = each.listed if isinstance(each, Unchanged) else each
            if each.listed is not None:
                notes.add(IndexEntry.of(each.listed, found))
            if isinstance(found, Rejected):
                rejected.append((told.origin, found.reason, found.detail))
                continue
            assert not isinstance(told, Unreadable)
            split = told.split or split_by_hash(found.id, test_share)
            row = (found.id, split, told.origin, told.label or "")
            if isinstance(each, RawSample):
                sound.append((*row, each.payload, *found[1:]))
            else:
                recalled.append((*row, *found[1:]))
        for sort, rows in ((into.sound, sound), (into.recalled, recalled), (into.rejected, rejected)):
            _add(sort, rows)
        known = sum(isinstance(each, Unchanged) for each in batch)
        counts.known += known
        counts.read += len(batch) - known
        failpoints.reach("ingest.inputs-checked")
        on_progress(counts.known + counts.read)


def _add(sort: ExternalSort, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        sort.add(list(zip(*rows, strict=True)))


def split_by_hash(sample: bytes, test_share: float) -> str:
    """The split that a sample's id alone decides: the same for every copy, and in every later snapshot.

    Args:
        sample: (32,) bytes, the sha256 of the content.
        test_share: Fraction of the range of ids that is `test`.
    """
    return "test" if int.from_bytes(sample[:8], "big") < test_share * 2**64 else "train"


def batches(given: Iterable[Given], *, rows: int = _BATCH_ROWS) -> Iterator[list[Given]]:
    """Inputs in lists of at most `rows`, and about 8 MiB.

    Raises:
        DataError: When an input names a split that there is not.
    """
    batch: list[Given] = []
    size = 0
    for each in given:
        batch.append(each)
        told = each.listed if isinstance(each, Unchanged) else each
        if not isinstance(told, Unreadable) and told.split and told.split not in SPLITS:
            raise DataError(
                f"{told.origin} is in a split named {told.split!r}; a source names {' or '.join(SPLITS)}, "
                "or leaves the split empty for the content's hash to decide"
            )
        size += len(each.payload) if isinstance(each, RawSample) else 0
        if len(batch) == rows or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
