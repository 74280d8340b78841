"""Which samples meet in which batch: a pure function of seed and epoch, the same for any number of workers."""

import numpy as np
from numpy.typing import NDArray

from cl_core.seeding import permutation

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
    ends when fewer than P classes have any.

    Args:
        seed: Of the run.
        epoch: Of the pass over the data.
        rows: (R,) positions in the split that are trained on.
        labels: Of the whole split; -1 is never visited.
        batch_size: N = P * K.
        samples_per_class: K.

    Returns:
        (batches, N) positions, the same number of batches in every epoch.

    Source: Hermans et al. 2017, "In defense of the triplet loss", arXiv:1703.07737, Sec. 2 (P x K batches).
    """
    classes_per_batch = batch_size // samples_per_class
    order = rows[permutation(seed=seed, epoch=epoch, size=len(rows))]
    handfuls = []
    for group in np.unique(labels[rows][labels[rows] >= 0]):
        members = order[labels[order] == group]
        whole = len(members) // samples_per_class * samples_per_class
        handfuls.append(list(members[:whole].reshape(-1, samples_per_class)))
    lots = permutation(seed=seed, epoch=epoch, size=len(handfuls))
    batches = []
    while sum(bool(left) for left in handfuls) >= classes_per_batch:
        lots = np.roll(lots, classes_per_batch)
        fullest = sorted(lots, key=lambda group: -len(handfuls[group]))[:classes_per_batch]
        batches.append(np.concatenate([handfuls[group].pop() for group in fullest]))
    return np.array(batches, dtype=np.int64).reshape(-1, batch_size)
