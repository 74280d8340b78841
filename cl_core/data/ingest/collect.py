"""Inspect every input of a source and sort it with the valid or the rejected inputs."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

import pyarrow as pa

from cl_core.data.ingest.external_sort import ExternalSort, Row
from cl_core.data.ingest.incremental_index import Counts, IndexEntry
from cl_core.data.ingest.inspection import Input, Unchanged, inspect_payloads
from cl_core.data.ingest.row_group_writer import RowGroupWriter
from cl_core.data.ingest.split_groups import SplitGroups
from cl_core.data.snapshot import ID_BYTES, SPLITS
from cl_core.data.sources import RawSample, SourceEntry, Unreadable
from cl_core.data.worker_pool import bounded_batches, map_batches
from cl_core.errors import DataError
from cl_core.failpoints import failpoint
from cl_core.modalities import Modality, Rejected
from cl_core.specs import DataSpec, SourceSpec
from cl_core.tables import required

# The first four columns decide the order, so that it never depends on the order of arrival.
INPUTS = pa.schema(
    [
        *required(id=pa.binary(ID_BYTES), split=pa.string(), origin=pa.string()),
        *required(label=pa.string()),  # Empty without one.
        pa.field("payload", pa.binary()),  # Null for an unchanged input: an earlier snapshot holds it.
        *required(format=pa.string(), measures=pa.binary()),
        pa.field("fingerprint", pa.binary(8)),
        *required(identities=pa.binary()),
    ]
)

AnyInput = TypeVar("AnyInput", bound=Input)

_BATCH_ROWS = 256
_BATCH_BYTES = 1 << 23


def collect_inputs(
    inputs: Iterable[Input],
    *,
    test_share: float,
    modality: Modality,
    fingerprint: bool,
    groups: SplitGroups | None,
    valid: ExternalSort,
    rejected: ExternalSort,
    index: RowGroupWriter,
    counts: Counts,
    workers: int,
    on_progress: Callable[[int], None],
) -> None:
    """Inspect all inputs, add them to the sorts, and write the listed inputs to the index.

    `valid` sorts `INPUTS`, `rejected` sorts `QUARANTINE_TABLE`. Inputs are taken one at a time, and the index gets its
    entries in their order. `counts` is raised; `on_progress` is called with the number of inputs inspected so far.
    `groups` takes every valid input, and decides later on the splits that the source leaves open: they stay empty.
    """
    inspect = partial(inspect_payloads, modality=modality, fingerprint=fingerprint)
    for batch, results in map_batches(inspect, input_batches(inputs), workers):
        valid_rows, rejected_rows = [], []
        for item, result in zip(batch, results, strict=True):
            source = _source(item)
            if item.listed is not None:
                index.add(IndexEntry.of(item.listed, result))
            if isinstance(result, Rejected):
                rejected_rows.append((source.origin, result.reason, result.detail))
                continue
            assert not isinstance(source, Unreadable)
            if groups is not None:
                groups.add(result.id, source, result.fingerprint, result.identities)
            split = source.split or (split_by_hash(result.id, test_share) if groups is None else "")
            payload = item.payload if isinstance(item, RawSample) else None
            valid_rows.append((result.id, split, source.origin, source.label or "", payload, *result[1:]))
        valid.add(valid_rows)
        rejected.add(rejected_rows)
        unchanged = sum(isinstance(item, Unchanged) for item in batch)
        counts.unchanged += unchanged
        counts.read += len(batch) - unchanged
        failpoint("ingest.inputs-checked")
        on_progress(counts.unchanged + counts.read)


def nothing_usable(
    spec: SourceSpec | DataSpec, inputs: int, rejected: Row | None, reasons: str = "", *, unit: str
) -> DataError:
    """Return the error of a source without a usable input; a row of `QUARANTINE_TABLE` is the example."""
    if rejected is None:
        problem = f"source {spec.source!r} delivered no {unit}s from {spec.location!r}; correct it"
    else:
        origin, _, detail = rejected
        problem = f"none of the {inputs:,} inputs from {spec.location!r} is a usable {unit}{reasons}; "
        problem += f"for example {origin}: {detail}"
    return DataError(f"data.location: {problem}")


def split_by_hash(sample: bytes, test_share: float) -> str:
    """Return the split that the sha256 of a content alone decides, for every copy and in every later snapshot."""
    return "test" if int.from_bytes(sample[:8], "big") < test_share * 2**64 else "train"


def input_batches(inputs: Iterable[AnyInput], *, rows: int = _BATCH_ROWS) -> Iterator[list[AnyInput]]:
    """Yield inputs in lists of at most `rows`, and about 8 MiB.

    Raises:
        DataError: When an input names an unknown split.
    """
    return bounded_batches(inputs, rows=rows, size=_checked_size, limit=_BATCH_BYTES)


def _source(item: Input) -> SourceEntry | RawSample | Unreadable:
    return item.listed if isinstance(item, Unchanged) else item


def _checked_size(item: Input) -> int:
    source = _source(item)
    if not isinstance(source, Unreadable) and source.split and source.split not in SPLITS:
        raise DataError(
            f"{source.origin} is in a split named {source.split!r}; a source names {' or '.join(SPLITS)}, "
            "or leaves the split empty for the content's hash to decide"
        )
    return len(item.payload) if isinstance(item, RawSample) else 0
