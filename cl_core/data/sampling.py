"""Which samples are trained on, and which meet in which batch.

The order is a pure function of seed and epoch, the same for any number of workers. The held-out part of the training
split is never trained on, so that features can be scored on it while they form. It is drawn class by class and decided
by the contents' hashes: the class counts alone decide how many of each class, and the choice hardly changes when other
samples come or go.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from cl_core.data.cache import ImageSplit
from cl_core.rng import permutation

I64 = NDArray[np.int64]


def shuffled_batches(*, seed: int, epoch: int, rows: I64, batch_size: int) -> I64:
    """Batches that together visit each sample once; those that do not fill a batch wait for another epoch.

    Args:
        seed: Of the run.
        epoch: Of the pass over the data.
        rows: (R,) positions in the split that are trained on.
        batch_size: N.

    Returns:
        (R // N, N) positions.
    """
    batches = len(rows) // batch_size
    order = rows[permutation(seed=seed, epoch=epoch, size=len(rows))]
    return order[: batches * batch_size].reshape(batches, batch_size)


def class_balanced_batches(
    *, seed: int, epoch: int, rows: I64, labels: I64, batch_size: int, samples_per_class: int
) -> I64:
    """Batches of P classes with K samples each; within an epoch each sample is visited at most once.

    Each class's samples are shuffled and cut into handfuls of K. A batch takes one handful of each of the P classes
    with the most handfuls left (equals by lot), so that unequal classes are used up as evenly as can be; the epoch
    ends when fewer than P classes have any. Batches then come in random order: the large classes would be first.

    Args:
        seed: Of the run.
        epoch: Of the pass over the data.
        rows: (R,) positions in the split that are trained on.
        labels: Of the whole split; -1 is never visited.
        batch_size: N = P * K.
        samples_per_class: K.

    Returns:
        (batches, N) positions, the same number of batches in every epoch: see `class_balanced_count`.

    Source: Hermans et al. 2017, "In defense of the triplet loss", arXiv:1703.07737, Sec. 2 (P x K batches).
    """
    order = rows[permutation(seed=seed, epoch=epoch, size=len(rows))]
    order = order[labels[order] >= 0]
    by_class = order[np.argsort(labels[order], kind="stable")]
    _, starts, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    handfuls = sizes // samples_per_class
    lots = permutation(seed=seed, epoch=epoch, size=int(handfuls.sum())).tolist()
    firsts = _handfuls_in_batches(handfuls.tolist(), lots, classes_per_batch=batch_size // samples_per_class)
    firsts = firsts[permutation(seed=seed, epoch=epoch, size=len(firsts))]
    members: I64 = (starts[firsts[..., 0]] + samples_per_class * firsts[..., 1])[..., None] + np.arange(
        samples_per_class
    )
    visited: I64 = by_class[members].reshape(-1, batch_size)
    return visited


def class_balanced_count(class_sizes: Iterable[int], *, batch_size: int, samples_per_class: int) -> int:
    """How many batches `class_balanced_batches` makes of classes with so many samples.

    It is the most that can be made: b batches take at most b handfuls of each class, and P * b of all.
    """
    handfuls = np.array([size // samples_per_class for size in class_sizes], dtype=np.int64)
    classes_per_batch = batch_size // samples_per_class
    most = int(handfuls.sum()) // classes_per_batch
    return bisect_left(
        range(1, most + 1), True, key=lambda batches: np.minimum(handfuls, batches).sum() < classes_per_batch * batches
    )


def share_of(batch: I64, *, sub_batches: int, worker: int, workers: int) -> list[I64]:
    """A worker's part of each sub-batch of a batch.

    A batch is cut into sub-batches first and each of them is shared out then, so that what is embedded at once, by all
    workers together, does not depend on how many they are.

    Args:
        batch: (N,) positions.
        sub_batches: How many; 1 is the batch itself.
        worker: From 0.
        workers: How many share the batch.

    Returns:
        As many arrays of positions as there are sub-batches; their lengths differ by one at most.
    """
    return [np.array_split(part, workers)[worker] for part in np.array_split(batch, sub_batches)]


def _handfuls_in_batches(handfuls: list[int], lots: list[int], *, classes_per_batch: int) -> I64:
    """(batches, P, 2): class, and which of its handfuls, from the class with the most left; equals by lot."""
    draw = iter(lots)
    waiting = [(-left, next(draw), group) for group, left in enumerate(handfuls) if left]
    heapify(waiting)
    batches = []
    while len(waiting) >= classes_per_batch:
        taken = [heappop(waiting) for _ in range(classes_per_batch)]
        batches.append([(group, -minus_left - 1) for minus_left, _, group in taken])
        for minus_left, _, group in taken:
            if minus_left < -1:
                heappush(waiting, (minus_left + 1, next(draw), group))
    return np.array(batches, dtype=np.int64).reshape(-1, classes_per_batch, 2)


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
