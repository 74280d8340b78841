"""Which samples meet in which batch: a pure function of seed and epoch, the same for any number of workers."""

from bisect import bisect_left
from collections.abc import Iterable
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

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

    Each class's samples are shuffled and cut into chunks of K. A batch takes one chunk of each of the P classes
    with the most chunks left (equals by lot), so that unequal classes are used up as evenly as can be; the epoch
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
    chunks = sizes // samples_per_class
    lots = permutation(seed=seed, epoch=epoch, size=int(chunks.sum())).tolist()
    firsts = _chunks_in_batches(chunks.tolist(), lots, classes_per_batch=batch_size // samples_per_class)
    firsts = firsts[permutation(seed=seed, epoch=epoch, size=len(firsts))]
    members: I64 = (starts[firsts[..., 0]] + samples_per_class * firsts[..., 1])[..., None] + np.arange(
        samples_per_class
    )
    visited: I64 = by_class[members].reshape(-1, batch_size)
    return visited


def class_balanced_count(class_sizes: Iterable[int], *, batch_size: int, samples_per_class: int) -> int:
    """How many batches `class_balanced_batches` makes of classes with so many samples.

    It is the most that can be made: b batches take at most b chunks of each class, and P * b of all.
    """
    chunks = np.array([size // samples_per_class for size in class_sizes], dtype=np.int64)
    classes_per_batch = batch_size // samples_per_class
    most = int(chunks.sum()) // classes_per_batch
    return bisect_left(
        range(1, most + 1), True, key=lambda batches: np.minimum(chunks, batches).sum() < classes_per_batch * batches
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


def _chunks_in_batches(chunks: list[int], lots: list[int], *, classes_per_batch: int) -> I64:
    """(batches, P, 2): class, and which of its chunks, from the class with the most left; equals by lot."""
    draw = iter(lots)
    waiting = [(-left, next(draw), group) for group, left in enumerate(chunks) if left]
    heapify(waiting)
    batches = []
    while len(waiting) >= classes_per_batch:
        taken = [heappop(waiting) for _ in range(classes_per_batch)]
        batches.append([(group, -minus_left - 1) for minus_left, _, group in taken])
        for minus_left, _, group in taken:
            if minus_left < -1:
                heappush(waiting, (minus_left + 1, next(draw), group))
    return np.array(batches, dtype=np.int64).reshape(-1, classes_per_batch, 2)
