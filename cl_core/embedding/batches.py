"""From a source's inputs to the pixels that a model takes, part by part; what cannot be decoded is told apart."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cl_core.data.ingest.collect import input_batches
from cl_core.data.sources import RawSample, Unreadable
from cl_core.data.worker_pool import map_batches
from cl_core.embedding.embeddings_file import EmbeddedRow
from cl_core.modalities.image import Rejected, decode_image, to_shape

Input = RawSample | Unreadable

PART_INPUTS = 1024
"""A part is what a killed run loses at most, and a row group of the file."""
_BATCH_ROWS = 256
_BATCH_PIXELS = 1 << 23  # What goes through the model at once, so that its activations stay small.


class PreparedBatch(NamedTuple):
    """Inputs of one part, ready to be embedded.

    Args:
        part: Its number.
        rows: Of the inputs that are images.
        images: (n, H, W, C) uint8, one per row.
        rejected: Origin, reason and detail of those that are not.
    """

    part: int
    rows: list[EmbeddedRow]
    images: NDArray[np.uint8]
    rejected: list[tuple[str, str, str]]


def prepared_batches(
    inputs: Iterable[Input], shape: tuple[int, int, int], *, workers: int, stands: Callable[[int], bool]
) -> Iterator[PreparedBatch]:
    """The inputs in batches, in their order, brought to the shape that the model takes.

    Args:
        inputs: Of a source, taken one at a time.
        shape: (H, W, C) of the images.
        workers: Processes that decode.
        stands: Whether the part of this number is done; its inputs are passed over undecoded.
    """
    rows = max(1, min(_BATCH_ROWS, _BATCH_PIXELS // math.prod(shape)))
    given = ((part, batch) for part, some in _parts(inputs, stands) for batch in input_batches(some, rows=rows))
    return (made for _, made in map_batches(partial(_prepare, shape=shape), given, workers))


def _parts(inputs: Iterable[Input], stands: Callable[[int], bool]) -> Iterator[tuple[int, Iterator[Input]]]:
    """Each part that does not stand: its number, and its inputs, which are to be taken before the next part's."""
    remaining = iter(inputs)
    for part, first in enumerate(remaining):
        some = chain([first], islice(remaining, PART_INPUTS - 1))
        if not stands(part):
            yield part, some
        for _ in some:
            pass


def _prepare(batch: tuple[int, list[Input]], shape: tuple[int, int, int]) -> PreparedBatch:
    part, inputs = batch
    rows, images, rejected = [], [], []
    for each in inputs:
        if isinstance(each, Unreadable):
            rejected.append((each.origin, "unreadable", each.detail))
            continue
        try:
            image, _ = decode_image(each.payload)
        except Rejected as refused:
            rejected.append((each.origin, refused.reason, refused.detail))
            continue
        images.append(to_shape(image, shape))
        rows.append(
            EmbeddedRow(hashlib.sha256(each.payload).hexdigest(), each.origin, each.label or None, each.split or None)
        )
    pixels = np.stack(images) if images else np.empty((0, *shape), np.uint8)
    return PreparedBatch(part, rows, pixels, rejected)
