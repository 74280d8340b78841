"""Whether two samples are of one class, for classes that the training has never seen."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field

from cl_core.errors import DataError
from cl_core.evaluation.bootstrap import F64, I64, resample_counts, score
from cl_core.evaluation.protocols import EvaluatedData, Evaluation, Features, Outcome, label_counts
from cl_core.refs import Score
from cl_core.registry import EVALUATIONS

# A fold needs two classes: otherwise it has no pair of different ones.
_CLASSES_PER_FOLD = 2
# Of one kind in one fold; then those drawn so far are all, or nearly.
_ROUNDS = 50
# Weights of pairs that are held at a time.
_WEIGHTS = 1 << 21
_DRAWN_POINTS = 200


@EVALUATIONS.register("verification")
class Verification(Evaluation):
    """Accept a pair of test samples as one class if its cosine similarity reaches a threshold.

    The pairs are of classes without any training sample, as many of one class as of two. The classes are divided into
    folds, and both samples of a pair are of one fold. The accuracy of a fold is that of the threshold that is best for
    the pairs of the other folds. The true accept rate at a false accept rate, and the area under the curve of both
    (ROC), are those of all pairs together. Intervals come from drawing the classes again: a pair of two classes then
    counts as often as both together. Of few classes they are too narrow: docs/explanation/intervals.md has numbers.

    Source: Huang et al. 2007, "Labeled faces in the wild", UMass Amherst 07-49, Sec. 4; intervals of Fogliato et al.
    2024, "Confidence intervals for error rates in 1:1 matching tasks", arXiv:2306.01198 (vertex bootstrap).
    Differences: the pairs are drawn, and the mean is over pairs in place of folds.
    """

    needs_labels: ClassVar[bool] = True
    reads_training: ClassVar[bool] = False

    pairs: int = Field(6000, ge=20, le=200_000)
    """Maximum number of pairs, half of one class and half of two. Pairs."""
    folds: int = Field(10, ge=2, le=100)
    """Folds of classes. The default is reduced to one for every two classes. Folds."""
    false_accepts_one_in: tuple[Annotated[int, Field(ge=2)], ...] = Field((100, 1000), title="False accepts, one in")
    """Each n gives a score `verification.tar_at_far_1_in_N`: the rate of true accepts where at most one in n pairs of
    two classes is accepted. It needs n such pairs. Pairs."""

    @property
    def predictors(self) -> tuple[str, ...]:
        """It predicts no classes."""
        return ()

    def fitted_to(self, labels: EvaluatedData) -> Self:
        """Take at most as many folds as there are two classes for.

        Raises:
            DataError: When there are fewer than four classes to draw pairs from, or than the folds that were given
                need.
        """
        most = len(_verifiable(labels)) // _CLASSES_PER_FOLD
        if self.folds <= most:
            return self
        if "folds" in self.model_fields_set or most < 2:
            least = _CLASSES_PER_FOLD * (self.folds if "folds" in self.model_fields_set else 2)
            raise DataError(
                f"verification needs at least {least} classes with two test samples or more and without a training "
                f"sample; there are {len(_verifiable(labels))}. Keep each class in one split (data.group is then "
                "column:NAME with the column of the label, or folder:1 where folders are classes), or leave "
                "verification out of evaluation.protocols"
            )
        return self.model_copy(update={"folds": most})

    def __call__(self, train: Features, test: Features, *, classes: list[str], resamples: int, seed: int) -> Outcome:
        """Verify pairs of test samples; of the training split, only the classes matter."""
        labels = label_counts(train, test, classes)
        verifiable = np.array([classes.index(name) for name in _verifiable(labels)])
        pairs = draw_pairs(test.groups, verifiable, folds=self.fitted_to(labels).folds, count=self.pairs, seed=seed)
        cosines = _cosines(test, pairs)
        right = (cosines >= fold_thresholds(cosines, pairs)) == pairs.same
        order = np.argsort(-cosines, kind="stable")
        same, right = pairs.same[order], right[order]
        # Equal similarities are accepted together.
        ends = np.flatnonzero(np.append(np.diff(cosines[order]) != 0, True))
        numbers = [number for number in self.false_accepts_one_in if (~same).sum() >= number]

        def measured(weights: F64) -> F64:
            """Return a row of scores for each row of weights of the pairs, by falling similarity."""
            far, tar = rates(same, weights, ends)
            area = (np.diff(far) * (tar[:, 1:] + tar[:, :-1]) / 2).sum(axis=1)
            accepted = [np.where(far <= 1 / number, tar, 0).max(axis=1) for number in numbers]
            return np.stack([weights @ right / weights.sum(axis=1), area, *accepted], axis=1)

        names = ["accuracy", "auc", *(f"tar_at_far_1_in_{number}" for number in numbers)]
        each = np.ones((1, len(order)))
        with np.errstate(invalid="ignore"):  # A resample may have pairs of one kind only: it has no value.
            resampled = _resampled(pairs.classes[order], verifiable, resamples, seed)
            drawn = np.concatenate([measured(weights) for weights in resampled])
        points = np.concatenate(rates(same, each, ends)).T
        shown = np.unique(np.linspace(0, len(points) - 1, _DRAWN_POINTS).round().astype(np.int64))
        return Outcome(
            scores={
                f"verification.{name}": _score(float(value), column)
                for name, value, column in zip(names, measured(each)[0], drawn.T, strict=True)
            },
            roc=[(float(far), float(tar)) for far, tar in points[shown]],
        )


class Pairs(NamedTuple):
    """P pairs of test samples."""

    first: I64  # (P,) position of one sample.
    second: I64  # (P,) position of the other.
    classes: I64  # (P, 2) their classes.
    same: NDArray[np.bool_]  # (P,) whether these are one.
    fold: I64  # (P,) fold of both.


def draw_pairs(groups: I64, classes: I64, *, folds: int, count: int, seed: int) -> Pairs:
    """Draw different pairs within each fold of classes: first the classes, all alike, then their samples.

    Args:
        groups: (N,) class of each test sample, -1 without one.
        classes: Classes to draw from, with two samples or more each.
        folds: Number of folds, at most half that of classes.
        count: Maximum number of pairs. A fold with too few pairs of one class gives those it has, and as many of two.
        seed: Decides folds and pairs.
    """
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
    members = {int(group): np.flatnonzero(groups == group) for group in classes}
    drawn: list[tuple[int, int, int]] = []
    for fold, of_fold in enumerate(np.array_split(generator.permutation(classes), folds)):
        of_one = _different(of_fold, members, max(1, count // (2 * folds)), generator, alike=True)
        of_two = _different(of_fold, members, len(of_one), generator, alike=False)
        drawn += [(*pair, fold) for pair in of_one + of_two]
    first, second, fold_of = np.array(drawn, dtype=np.int64).T
    of = np.stack([groups[first], groups[second]], axis=1)
    return Pairs(first, second, of, of[:, 0] == of[:, 1], fold_of)


def fold_thresholds(cosines: F64, pairs: Pairs) -> F64:
    """Return (P,) for each pair the threshold that is best for the pairs of the other folds."""
    thresholds = np.empty(len(cosines))
    for fold in np.unique(pairs.fold):
        others = pairs.fold != fold
        thresholds[~others] = best_threshold(cosines[others], pairs.same[others])
    return thresholds


def best_threshold(cosines: F64, same: NDArray[np.bool_]) -> float:
    """Return the threshold with the most right decisions, between two similarities; of several the lowest.

    It is minus or plus infinity where accepting all, or none, is best.
    """
    order = np.argsort(cosines, kind="stable")
    rising, same = cosines[order], same[order]
    # Entry i: all pairs from the i-th on are accepted.
    right = np.append(np.cumsum(same[::-1])[::-1], 0) + np.append(0, np.cumsum(~same))
    between = np.concatenate([[-np.inf], (rising[:-1] + rising[1:]) / 2, [np.inf]])
    possible = np.concatenate([[True], rising[:-1] < rising[1:], [True]])
    return float(between[np.argmax(np.where(possible, right, -1))])


def rates(same: NDArray[np.bool_], weights: F64, ends: I64) -> tuple[F64, F64]:
    """Return the rates of false and of true accepts, (R, E + 1) each, from 0 to 1.

    Args:
        same: (P,) whether a pair is of one class, by falling similarity.
        weights: (R, P) how often each pair counts.
        ends: (E,) positions after which a threshold may lie.
    """
    both = []
    for kind in (~same, same):
        sums = np.cumsum(weights * kind, axis=1)[:, ends]
        both.append(np.pad(sums / sums[:, -1:], ((0, 0), (1, 0))))
    return both[0], both[1]


def _verifiable(labels: EvaluatedData) -> list[str]:
    return [name for name, count in labels.unseen.items() if count > 1]


def _different(
    classes: I64, members: dict[int, I64], wanted: int, generator: np.random.Generator, *, alike: bool
) -> list[tuple[int, int]]:
    """Return at most so many different pairs of positions, the smaller one first."""
    found: dict[tuple[int, int], None] = {}
    for _ in range(_ROUNDS):
        first = generator.integers(len(classes), size=wanted)
        other = (first + generator.integers(1, len(classes), size=wanted)) % len(classes)
        places = generator.random((wanted, 2))
        for a, b, (at, next_to) in zip(classes[first], classes[first if alike else other], places, strict=True):
            one = members[int(a)][int(at * len(members[int(a)]))]
            two = members[int(b)][int(next_to * len(members[int(b)]))]
            if one != two and len(found) < wanted:
                found[min(one, two), max(one, two)] = None
        if len(found) == wanted:
            break
    return list(found)


def _cosines(test: Features, pairs: Pairs) -> F64:
    positions, places = np.unique(np.stack([pairs.first, pairs.second]), return_inverse=True)
    unit = F.normalize(torch.tensor(test.embeddings.take(positions)).double(), dim=1)
    first, second = places.reshape(2, -1)
    cosines: F64 = (unit[first] * unit[second]).sum(dim=1).numpy()
    return cosines


def _resampled(of: I64, classes: I64, resamples: int, seed: int) -> Iterator[F64]:
    """Yield (B, P) how often each pair counts when the classes are drawn again; `of` are the (P, 2) classes of each."""
    places = np.searchsorted(np.sort(classes), of)
    same = of[:, 0] == of[:, 1]
    for counts in resample_counts(len(classes), resamples=resamples, seed=seed):
        for block in np.array_split(counts.astype(np.float64), -(-counts.shape[0] * len(places) // _WEIGHTS)):
            first, second = block[:, places[:, 0]], block[:, places[:, 1]]
            yield np.where(same, first, first * second)


def _score(value: float, resampled: F64) -> Score:
    finite = resampled[np.isfinite(resampled)]
    return score(value, finite if len(finite) else np.array([value]))
