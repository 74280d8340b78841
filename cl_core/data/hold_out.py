"""The part of the training split that is never trained on, so that features can be scored on it while they form.

It is drawn class by class and decided by the contents' hashes: how many of each class follows from the counts alone,
and which ones hardly changes when other samples come or go.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cl_core.data.cache import ImageSplit

I64 = NDArray[np.int64]

# Rows moved at a time.
_BLOCK = 1024


def held_out_counts(class_sizes: Sequence[int] | I64, share: float) -> I64:
    """How many labelled samples of each class are held out.

    Args:
        class_sizes: Labelled training samples of each of C classes, in the order of the classes' numbers.
        share: 0 to 1.

    Returns:
        (C,) the share of each class, rounded down or up such that together they are that of all, rounded down.
    """
    upto = np.floor(share * np.cumsum(class_sizes)).astype(np.int64)
    counts: I64 = np.diff(upto, prepend=0)
    return counts


def hold_out(split: ImageSplit, share: float) -> tuple[ImageSplit, ImageSplit | None]:
    """A split without what is held out, and what is: of each class the samples with the least content hashes.

    Args:
        split: Sorted by id. Used up: what is trained on moves together in its arrays, so that images are held once.
        share: Of the labelled samples.

    Returns:
        What is trained on, and what is held out, both sorted by id; None where nothing is held out.
    """
    held = np.empty(0, np.int64) if split.labels is None else _least_of_each_class(split.labels, share)
    if not len(held):
        return split, None
    held_out = _rows(split, held)
    trained = np.delete(np.arange(len(split.ids)), held)
    for start in range(0, len(trained), _BLOCK):
        # Rows only move towards the front, so that none is overwritten before it is read.
        block = trained[start : start + _BLOCK]
        for array in (split.images, split.ids, split.sample_ids, split.labels):
            assert array is not None
            array[start : start + len(block)] = array[block]
    return _rows(split, slice(len(trained))), held_out


def _least_of_each_class(labels: I64, share: float) -> I64:
    """Positions of the first of each class, in order."""
    labelled = np.flatnonzero(labels >= 0)
    by_class = labelled[np.argsort(labels[labelled], kind="stable")]
    sizes = np.bincount(labels[labelled])
    place_in_class = np.arange(len(by_class)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    held: I64 = np.sort(by_class[place_in_class < np.repeat(held_out_counts(sizes, share), sizes)])
    return held


def _rows(split: ImageSplit, chosen: I64 | slice) -> ImageSplit:
    labels = None if split.labels is None else split.labels[chosen]
    return ImageSplit(split.images[chosen], split.ids[chosen], split.sample_ids[chosen], labels)
