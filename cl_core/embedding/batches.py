"""Turn a source's inputs into the arrays that a model takes, part by part; collect the inputs that are rejected."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from cl_core.columns import Rows
from cl_core.data.ingest.collect import input_batches
from cl_core.data.sources import RawSample, Unreadable
from cl_core.data.worker_pool import map_batches
from cl_core.embedding.embeddings_file import EmbeddedRow
from cl_core.modalities import Rejected
from cl_core.modalities._model_input import ModelInput, model_row

Input = RawSample | Unreadable

PART_INPUTS = 1024
"""A killed run loses at most one part; a part is a row group of the file."""
_BATCH_ROWS = 256
_BATCH_VALUES = 1 << 23  # What goes through the model at once, so that its activations stay small.


class PreparedBatch(NamedTuple):
    """Inputs of one part, ready to be embedded."""

    part: int  # Its number.
    rows: list[EmbeddedRow]  # Of the inputs that can be decoded.
    arrays: Rows  # (n, *shape) of each column; nothing without a row.
    rejected: list[tuple[str, str, str]]  # Origin, reason and detail of the others.


def prepared_batches(
    inputs: Iterable[Input],
    takes: ModelInput,
    *,
    workers: int,
    is_done: Callable[[int], bool],
) -> Iterator[PreparedBatch]:
    """Yield the inputs in batches, in their order, as the model takes them; skip parts that are done."""
    rows = max(1, min(_BATCH_ROWS, _BATCH_VALUES // sum(map(math.prod, takes.shapes))))
    batches = (
        (part, batch) for part, members in _parts(inputs, is_done) for batch in input_batches(members, rows=rows)
    )
    return (prepared for _, prepared in map_batches(partial(_prepare, takes=takes), batches, workers))


def _parts(inputs: Iterable[Input], is_done: Callable[[int], bool]) -> Iterator[tuple[int, Iterator[Input]]]:
    """Yield the number and the inputs of each part to do; its inputs must be taken before the next part's."""
    remaining = iter(inputs)
    for part, first in enumerate(remaining):
        members = chain([first], islice(remaining, PART_INPUTS - 1))
        if not is_done(part):
            yield part, members
        for _ in members:
            pass


def _prepare(batch: tuple[int, list[Input]], takes: ModelInput) -> PreparedBatch:
    part, inputs = batch
    modality, arrays = takes.kind, takes.arrays
    rows, decoded, rejected = [], [], list[tuple[str, str, str]]()
    for item in inputs:
        try:
            if isinstance(item, Unreadable):
                raise Rejected(item.reason, item.detail)
            decoded.append(model_row(item.payload, modality, arrays))
        except Rejected as rejection:
            rejected.append((item.origin, rejection.reason, rejection.detail))
        else:
            sample = hashlib.sha256(item.payload).hexdigest()
            rows.append(EmbeddedRow(sample, item.origin, item.label or None, item.split or None))
    return PreparedBatch(part, rows, tuple(map(np.stack, zip(*decoded, strict=True))), rejected)
