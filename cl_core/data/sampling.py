"""Which samples are trained on, and which meet in which batch.

The order is a pure function of seed and epoch, the same for any number of workers. The held-out part of the training
split is never trained on, so that features can be scored on it while they form. It is drawn class by class and decided
by the contents' hashes: the class counts alone decide how many of each class, and the choice hardly changes when other
samples come or go. Groups of samples are held out whole.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from cl_core.columns import Split
from cl_core.rng import permutation

I64 = NDArray[np.int64]


def shuffled_batches(*, seed: int, epoch: int, rows: int, batch_size: int) -> I64:
    """Return (R // N, N) batches of R positions, each once; those that do not fill a batch wait for another epoch."""
    batches = rows // batch_size
    order = permutation(seed=seed, epoch=epoch, size=rows)
    return order[: batches * batch_size].reshape(batches, batch_size)


def class_balanced_batches(*, seed: int, epoch: int, labels: I64, batch_size: int, samples_per_class: int) -> I64:
    """Return batches of P classes with K samples each; within an epoch each sample is visited at most once.

    Each class's samples are shuffled and cut into groups of K. A batch takes one group of each of the P classes with
    the most groups left (ties at random), so that unequal classes are used up as evenly as possible; the epoch ends
    when fewer than P classes have any. Batches then come in random order: the large classes would be first.

    `labels` are (R,), those of the split; a label of -1 is never visited. N is P * K.

    Returns:
        (batches, N) positions, the same number of batches in every epoch: see `class_balanced_count`.

    Source: Hermans et al. 2017, "In defense of the triplet loss", arXiv:1703.07737, Sec. 2 (P x K batches).
    """
    order = permutation(seed=seed, epoch=epoch, size=len(labels))
    order = order[labels[order] >= 0]
    by_class = order[np.argsort(labels[order], kind="stable")]
    _, starts, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    groups = sizes // samples_per_class
    lots = permutation(seed=seed, epoch=epoch, size=int(groups.sum())).tolist()
    firsts = _groups_in_batches(groups.tolist(), lots, classes_per_batch=batch_size // samples_per_class)
    firsts = firsts[permutation(seed=seed, epoch=epoch, size=len(firsts))]
    members: I64 = (starts[firsts[..., 0]] + samples_per_class * firsts[..., 1])[..., None] + np.arange(
        samples_per_class
    )
    visited: I64 = by_class[members].reshape(-1, batch_size)
    return visited


def class_balanced_count(class_sizes: Iterable[int], *, batch_size: int, samples_per_class: int) -> int:
    """Return how many batches `class_balanced_batches` makes of classes with so many samples.

    It is the maximum: b batches take at most b groups of each class, and P * b of all.
    """
    groups = np.array([size // samples_per_class for size in class_sizes], dtype=np.int64)
    classes_per_batch = batch_size // samples_per_class
    most = int(groups.sum()) // classes_per_batch
    return bisect_left(
        range(1, most + 1), True, key=lambda batches: np.minimum(groups, batches).sum() < classes_per_batch * batches
    )


def fitting_samples_per_class(class_sizes: Collection[int], *, batch_size: int) -> list[int]:
    """Return each K, ascending, of which a batch holds P = batch_size / K of the classes, and every class has as many.

    K and P are at least 2, so that a batch has both pairs within a class and pairs across.
    """
    most = min(class_sizes, default=0)
    return [k for k in range(2, most + 1) if batch_size % k == 0 and 2 <= batch_size // k <= len(class_sizes)]


def share_of(batch: I64, *, sub_batches: int, worker: int, workers: int) -> list[I64]:
    """Return a worker's part of each sub-batch of a batch.

    A batch is cut into sub-batches first, and each of them is divided among the workers, so that what all workers
    together embed at once does not depend on their number.

    Returns:
        As many arrays of positions as there are sub-batches; their lengths differ by one at most.
    """
    return [np.array_split(part, workers)[worker] for part in np.array_split(batch, sub_batches)]


def _groups_in_batches(groups: list[int], lots: list[int], *, classes_per_batch: int) -> I64:
    """Return (batches, P, 2): class and group, from the classes with the most groups left; ties at random."""
    draw = iter(lots)
    remaining = [(-left, next(draw), label) for label, left in enumerate(groups) if left]
    heapify(remaining)
    batches = []
    while len(remaining) >= classes_per_batch:
        drawn = [heappop(remaining) for _ in range(classes_per_batch)]
        batches.append([(label, -minus_left - 1) for minus_left, _, label in drawn])
        for minus_left, _, label in drawn:
            if minus_left < -1:
                heappush(remaining, (minus_left + 1, next(draw), label))
    return np.array(batches, dtype=np.int64).reshape(-1, classes_per_batch, 2)


def held_out_counts(class_sizes: Sequence[int] | I64, share: float) -> I64:
    """Return how many of the labeled samples of each of C classes are held out.

    Returns:
        (C,) the share of each class, rounded down or up such that together they are that of all, rounded down.
    """
    upto = np.floor(share * np.cumsum(class_sizes)).astype(np.int64)
    counts: I64 = np.diff(upto, prepend=0)
    return counts


def hold_out(split: Split, share: float) -> tuple[Split, Split | None]:
    """Split off the held-out part: the samples of each class with the smallest content hashes, or whole groups.

    Returns:
        The training part and the held-out part, both sorted by id; None where nothing is held out. Unlabeled samples
        of a group that is held out are in neither.
    """
    if split.labels is None:
        return split, None
    if split.groups is None:
        not_trained = positions = _least_of_each_class(split.labels, share)
    else:
        not_trained = held_out_of_groups(split.labels, split.groups, share)
        positions = not_trained[split.labels[not_trained] >= 0]
    if not len(positions):
        return split, None
    return split.select(np.delete(np.arange(len(split)), not_trained)), split.select(positions)


def held_out_of_groups(labels: I64, groups: NDArray[np.uint64], share: float) -> I64:
    """Return the positions of all samples in held-out groups, in order.

    Groups are taken in the order of their hashes, each that still fits: at most the share of all samples, and of the
    labeled ones, is held out. A group without a label is never taken.

    `labels` (N,) are -1 without a label; `groups` (N,) are hashes.
    """
    _, number = np.unique(groups, return_inverse=True)
    sizes = np.stack([np.bincount(number), np.bincount(number, weights=labels >= 0).astype(np.int64)])
    left = np.floor(share * sizes.sum(axis=1)).astype(np.int64)
    taken = np.zeros(sizes.shape[1], bool)
    for group, size in enumerate(sizes.T):
        if size[1] and (size <= left).all():
            taken[group] = True
            left -= size
    positions: I64 = np.flatnonzero(taken[number])
    return positions


def _least_of_each_class(labels: I64, share: float) -> I64:
    """Return the positions of the first samples of each class, in order."""
    labeled = np.flatnonzero(labels >= 0)
    by_class = labeled[np.argsort(labels[labeled], kind="stable")]
    sizes = np.bincount(labels[labeled])
    place_in_class = np.arange(len(by_class)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    positions: I64 = np.sort(by_class[place_in_class < np.repeat(held_out_counts(sizes, share), sizes)])
    return positions
