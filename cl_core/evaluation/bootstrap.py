"""Bootstrap intervals: how far a score would move if the test split were drawn again.

A resample draws as many samples as there are, with replacement. It is fully described by how often each sample was
drawn, so a statistic is written as a function of those counts. Where samples fall into a few cells (right or wrong,
a confusion matrix), the cells' totals are drawn directly from their multinomial law: the same distribution, thousands
of times cheaper.

Every interval is the percentile interval of Efron 1979, "Bootstrap methods: another look at the jackknife". It cannot
see what never happened: all samples right gives [1, 1].

Everywhere, `resamples` is the number R of resamples behind an interval, and `seed` decides them; N is at least 1.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cl_core.refs import Score

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# Percentiles that leave 95 % of the resamples between them.
_LOW, _HIGH = 0.025, 0.975
# Counts drawn at a time: they stay in the processor's cache.
_BLOCK_COUNTS = 1 << 17


def score(value: float, resampled: F64) -> Score:
    """Return a value with the interval that holds the middle 95 % of the (R,) values of its resamples."""
    low, high = np.quantile(resampled, [_LOW, _HIGH])
    return Score(value=float(value), low=float(low), high=float(high))


def resample_counts(samples: int, *, resamples: int, seed: int) -> Iterator[F32]:
    """Draw how often each of N samples occurs in each resample.

    The same seed gives the same draws: statistics of the same samples move together.

    Yields:
        Blocks (B, N) float32, R rows in all; each row sums to N.
    """
    generator = _generator(seed)
    rows = max(1, _BLOCK_COUNTS // samples)
    for start in range(0, resamples, rows):
        block = min(rows, resamples - start)
        drawn = generator.integers(samples, size=(block, samples), dtype=np.int32)
        drawn += np.arange(block, dtype=np.int32)[:, None] * np.int32(samples)
        yield np.bincount(drawn.ravel(), minlength=block * samples).reshape(block, samples).astype(np.float32)


def resample_table(table: I64, *, resamples: int, seed: int) -> I64:
    """Draw resamples of a table of counts of any shape, such as a (C, C) confusion matrix.

    Returns:
        (R, *shape) int64, each table with as many samples as the first.
    """
    total = int(table.sum())
    drawn = _generator(seed).multinomial(total, table.ravel() / total, size=resamples)
    return drawn.reshape(resamples, *table.shape)


def mean_score(values: NDArray[np.floating], *, resamples: int, seed: int) -> Score:
    """Return the mean of (N,) per-sample values with its interval."""
    exact = values.astype(np.float64)
    sums = [counts @ exact for counts in resample_counts(len(exact), resamples=resamples, seed=seed)]
    return score(float(exact.mean()), np.concatenate(sums) / len(exact))


def accuracy_score(correct: NDArray[np.bool_], *, resamples: int, seed: int) -> Score:
    """Return the share of correct ones among (N,) samples with its interval."""
    right = int(correct.sum())
    table = np.array([right, len(correct) - right], dtype=np.int64)
    return score(right / len(correct), resample_table(table, resamples=resamples, seed=seed)[:, 0] / len(correct))


def paired_gain(first: NDArray[np.bool_], second: NDArray[np.bool_], *, resamples: int, seed: int) -> Score:
    """Return the accuracy of the first classifier minus that of the second, on the same samples.

    Resampling samples keeps the two answers to one sample together. Samples that both get right or both get wrong
    cancel, so that the interval is narrower than that of two independent accuracies.

    `first` and `second` are (N,): whether each is right on each sample, in the same order.

    Raises:
        ValueError: When the two did not answer the same number of samples, or none.
    """
    if len(first) != len(second) or not len(first):
        raise ValueError(
            f"paired classifiers must answer the same samples, at least one; got {len(first)} and {len(second)} answers"
        )
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    table = np.array([only_first, only_second, len(first) - only_first - only_second], dtype=np.int64)
    drawn = resample_table(table, resamples=resamples, seed=seed)
    return score((only_first - only_second) / len(first), (drawn[:, 0] - drawn[:, 1]) / len(first))


def confusion_matrix(labels: I64, predicted: I64, *, classes: int) -> I64:
    """Return (C, C) counts of (N,) true classes (rows) and predicted ones (columns), both 0 to C - 1."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def classification_scores(
    confusion: I64, *, classes: list[str], resamples: int, seed: int
) -> tuple[dict[str, Score], dict[str, dict[str, Score]]]:
    """Return accuracy and macro averages, and precision, recall and F1 of each class, from a confusion matrix.

    A class that occurs neither as a true nor as a predicted one has no scores and no part in the averages. What has
    nothing to divide by (the precision of a class never predicted) counts as 0.

    Returns:
        `accuracy`, `macro_precision`, `macro_recall`, `macro_f1`; and by class name `precision`, `recall`, `f1`.
    """
    occurs = np.flatnonzero(confusion.sum(0) + confusion.sum(1))
    tables = np.concatenate([confusion[None], resample_table(confusion, resamples=resamples, seed=seed)])
    right = np.diagonal(tables, axis1=1, axis2=2)[:, occurs]
    predicted, true = tables.sum(1)[:, occurs], tables.sum(2)[:, occurs]
    by_class = {
        "precision": right / np.maximum(predicted, 1),
        "recall": right / np.maximum(true, 1),
        "f1": 2 * right / np.maximum(predicted + true, 1),
    }
    overall = {"accuracy": np.trace(tables, axis1=1, axis2=2) / confusion.sum()}
    overall |= {f"macro_{name}": values.mean(1) for name, values in by_class.items()}
    scores = {name: score(values[0], values[1:]) for name, values in overall.items()}
    per_class = {
        classes[group]: {name: score(values[0, column], values[1:, column]) for name, values in by_class.items()}
        for column, group in enumerate(occurs)
    }
    return scores, per_class


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
