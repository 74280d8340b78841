"""95 % intervals: how far a score would move if the test split were drawn again.

Shares of samples, such as an accuracy, have the interval of Wilson 1927, J. Am. Stat. Assoc. 22:209. It is right near 0
and 1, where resampling sees too little: of 20 samples, all right, it says [0.84, 1]. Means over classes have it with
the number of samples that gives their bootstrap variance.

All else is resampled: Efron 1979, "Bootstrap methods: another look at the jackknife". A resample draws as many samples
as there are, with replacement. It is fully described by how often each sample was drawn, so a statistic is written as a
function of those counts. Where samples fall into a few cells (right or wrong, a confusion matrix), the totals of the
cells are drawn directly from their multinomial law: the same distribution, thousands of times cheaper.

Everywhere, `resamples` is the number R of resamples behind an interval, and `seed` decides them; N is at least 1.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cl_core.refs import Score

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# Percentiles that leave 95 % of the resamples between them, and of a normal distribution in standard deviations.
_LOW, _HIGH = 0.025, 0.975
_Z = 1.959964
# Counts drawn at a time: 4 MiB as float32. Products with many rows at once are quicker.
_BLOCK_COUNTS = 1 << 20


def score(value: float, resampled: F64) -> Score:
    """Return a value with the interval that holds the middle 95 % of the (R,) values of its resamples."""
    low, high = np.quantile(resampled, [_LOW, _HIGH])
    return Score(value=float(value), low=min(float(low), float(value)), high=max(float(high), float(value)))


def unbiased_score(value: float, resampled: F64) -> Score:
    """Return a value with the interval of its resamples, from which their bias is taken.

    A statistic that is less of a sample than of all, such as a rank, is less of a resample, too, which has fewer
    different samples: by as much, to first order (Efron 1979, Sec. 3). A resample without a value is left out.
    """
    resampled = resampled[np.isfinite(resampled)]
    return score(value, resampled - (resampled.mean() - value) if len(resampled) else np.array([value]))


def share_score(share: float, samples: float) -> Score:
    """Return a share of `samples` samples, which need not be a whole number, with its Wilson interval.

    Without samples, the interval is all there is: [0, 1].
    """
    widening = 1 + _Z**2 / samples if samples else np.inf
    middle = (share + _Z**2 / (2 * samples)) / widening if samples else 0.5
    half = _Z / widening * np.sqrt(share * (1 - share) / samples + (_Z / (2 * samples)) ** 2) if samples else 0.5
    return Score(value=share, low=max(0.0, min(middle - half, share)), high=min(1.0, max(middle + half, share)))


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


def per_sample_score(values: NDArray[np.floating], *, resamples: int, seed: int) -> Score:
    """Return the mean of (N,) per-sample values with its interval: of values that are all 0 or 1, as a share."""
    if np.isin(values, (0, 1)).all():
        return accuracy_score(values == 1)
    return mean_score(values, resamples=resamples, seed=seed)


def accuracy_score(correct: NDArray[np.bool_]) -> Score:
    """Return the share of correct ones among (N,) samples with its interval."""
    return share_score(float(correct.mean()), len(correct))


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

    The classes are those that occur in the test split. What has nothing to divide by (the precision of a class never
    predicted) counts as 0, as in scikit-learn. A macro average is the mean over the classes, each of equal weight. Of a
    resample it is the mean over those that occur there: that a class of two samples is not drawn says nothing about it.

    Returns:
        `accuracy`, `macro_precision`, `macro_recall`, `macro_f1`; and by class name `precision`, `recall`, `f1`.
    """
    occurs = np.flatnonzero(confusion.sum(1))
    tables = np.concatenate([confusion[None], resample_table(confusion, resamples=resamples, seed=seed)])
    right = np.diagonal(tables, axis1=1, axis2=2)[:, occurs]
    predicted, true = tables.sum(1)[:, occurs], tables.sum(2)[:, occurs]
    # F1 is a function of the share of right ones among those that are of the class or predicted to be: 2 J / (1 + J).
    of = {"precision": predicted, "recall": true, "f1": predicted + true - right}
    shares = {name: right / np.maximum(samples, 1) for name, samples in of.items()}
    by_class = {
        name: [share_score(float(values[0, column]), int(of[name][0, column])) for column in range(len(occurs))]
        for name, values in shares.items()
    }
    by_class["f1"] = [_f1(jaccard) for jaccard in by_class["f1"]]
    shares["f1"] = 2 * shares["f1"] / (1 + shares["f1"])
    scores = {"accuracy": share_score(float(right[0].sum() / confusion.sum()), int(confusion.sum()))}
    scores |= {f"macro_{name}": _macro(values, true, of[name][0]) for name, values in shares.items()}
    per_class = {
        classes[group]: {name: by_class[name][column] for name in by_class} for column, group in enumerate(occurs)
    }
    return scores, per_class


def _f1(jaccard: Score) -> Score:
    return Score(**{name: 2 * value / (1 + value) for name, value in jaccard.model_dump().items()})


def _macro(values: F64, true: I64, samples: I64) -> Score:
    """Return the mean over K classes of a score between 0 and 1, with its interval.

    Args:
        values: (1 + R, K) the score of each class, then of each class in each resample.
        true: (1 + R, K) how often each class occurs.
        samples: (K,) what the score of each class was divided by.
    """
    means = (values * (true > 0)).sum(1) / (true > 0).sum(1)
    share, variance = float(means[0]), float(means[1:].var())
    # Where no resample differs, as when all are right: the samples of classes that are equally hard.
    equally_hard = len(samples) ** 2 / (1 / np.maximum(samples, 1)).sum()
    return share_score(share, share * (1 - share) / variance if variance > 0 else float(equally_hard))


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
