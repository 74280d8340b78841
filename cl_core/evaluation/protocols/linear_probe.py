"""Linear probe: how well a linear classifier on frozen features separates the classes."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from cl_core.columns import Column
from cl_core.errors import DataError
from cl_core.evaluation.bootstrap import classification_scores, confusion_matrix
from cl_core.evaluation.protocols import EvaluatedData, Evaluation, Features, Outcome, label_counts
from cl_core.evaluation.protocols._logistic_regression import Curvature, Probe, fit_logistic_regression
from cl_core.registry import EVALUATIONS
from cl_core.rng import uniforms

# Of the draws that pick the validation part, away from those of the view policies.
_STREAM = (1 << 16) - 1
_DRAWS = 1 << 16  # At a time.
# Choosing among strengths needs no more: the validation part is far noisier.
_SELECTION_COARSER = 10
# Numbers of features, and of logits, that are held at most: 64 MiB each.
_HELD = 1 << 24
# Numbers of features in a block that is read: 4 MiB stay in the processor's cache until they are multiplied.
_READ = 1 << 20


@EVALUATIONS.register("linear_probe")
class LinearProbe(Evaluation):
    """Multinomial logistic regression on standardized features, its L2 strength chosen on a validation part.

    The validation part is drawn from the training split by content hash. After the choice, the classifier is fitted
    once to all labeled training samples, and the test split is used once.

    Source: Kornblith et al. 2019, "Do better ImageNet models transfer better?", arXiv:1805.08974, App. A.2.
    Differences: features are standardized, and the grid is coarser.
    """

    needs_labels: ClassVar[bool] = True

    l2_strengths: tuple[Annotated[float, Field(gt=0)], ...] = Field((1000, 200, 40, 8, 1.6), min_length=1)
    """Candidates compared on the validation part. Half the strength times the squared weights is added to the
    cross-entropy summed over samples, in nats: 1 / C of scikit-learn."""
    validation_share: float = Field(0.1, gt=0, lt=1, title="Validation fraction")
    """Share of the labeled training samples used for validation. Fraction."""
    selection_samples: int = Field(20_000, ge=1, title="Samples for selection")
    """Maximum number of samples for choosing the L2 strength; the last fit always takes all samples."""
    tolerance: float = Field(1e-5, gt=0)
    """The last fit stops when two iterations in a row improve the objective by less each; fits for selection stop at
    ten times as much. Nats per sample."""

    @property
    def predictors(self) -> tuple[str, ...]:
        """The probe itself."""
        return ("linear_probe",)

    def fitted_to(self, labels: EvaluatedData) -> Self:
        """Refuse labeled samples of which the validation part leaves none to fit.

        Raises:
            DataError: With the number of samples.
        """
        labeled = sum(labels.train.values())
        if math.ceil(self.validation_share * labeled) == labeled:
            raise DataError(
                f"the linear probe needs training samples besides its validation part; got {labeled} labeled "
                "training sample: give more a label, or leave linear_probe out of evaluation.protocols"
            )
        return self

    def __call__(self, train: Features, test: Features, *, classes: list[str], resamples: int, seed: int) -> Outcome:
        """Fit and score the probe; see `Evaluation`. The choice is `linear_probe.l2`."""
        train = train.labeled("training")
        test.labeled("test")
        self.fitted_to(label_counts(train, test, classes))
        # Classes that only the test split has get no weights: nothing could hold them back.
        known, groups = np.unique(train.groups, return_inverse=True)
        targets = torch.from_numpy(groups)
        features = standardized(train.embeddings, classes=len(known))

        choice = self._choose(features, targets, validation_order(train, seed=seed))
        probe = fit_logistic_regression(features.held(), targets, **choice._asdict(), tolerance=self.tolerance)
        predicted = known[probe.predict(features.of(test.embeddings))]

        scored = test.groups >= 0
        confusion = confusion_matrix(test.groups[scored], predicted[scored], classes=len(classes))
        scores, per_class = classification_scores(confusion, classes=classes, resamples=resamples, seed=seed)
        return Outcome(
            scores={f"linear_probe.{name}": score for name, score in scores.items()},
            per_class=per_class,
            confusion=confusion.tolist(),
            predictions={"linear_probe": predicted},
            choices={"linear_probe.l2": choice.l2},
        )

    def _choose(self, features: "Standardized", targets: Tensor, order: NDArray[np.int64]) -> "Choice":
        """Return the strength that is most accurate on the validation part; the stronger wins ties."""
        held_out = math.ceil(self.validation_share * len(order))
        validation, fitted = order[:held_out], order[held_out:][: self.selection_samples]
        examples, unseen = (features.of(features.column.select(part)).held() for part in (fitted, validation))
        answers, truths = targets[fitted], targets[validation].numpy()
        (width,) = features.column.shape
        probe = Probe.zero(width, features.classes)
        curvature = Curvature.at(probe, examples)
        tolerance = _SELECTION_COARSER * self.tolerance
        best, l2_of_best, most = probe, math.nan, -1.0
        # From strong to weak: each optimum is near the one before, the first near zero.
        for l2 in sorted(self.l2_strengths, reverse=True):
            probe = fit_logistic_regression(
                examples, answers, l2=l2, start=probe, curvature=curvature, tolerance=tolerance
            )
            accuracy = float(np.mean(probe.predict(unseen) == truths))
            if accuracy > most:
                best, l2_of_best, most = probe, l2, accuracy
        return Choice(l2_of_best, best, Curvature.at(best, examples))


@dataclass(frozen=True)
class Standardized:
    """Blocks of (n, D) float32 features, standardized when they are read; can be iterated over again and again.

    Args:
        column: N rows of (D,) float32, as they are.
        mean: (D,) float32, subtracted.
        std: (D,) float32, divides.
        classes: C of the classifier; decides with D how many rows are a block.
    """

    column: Column
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    classes: int

    def __iter__(self) -> Iterator[Tensor]:
        scale, shift = torch.from_numpy(1 / self.std), torch.from_numpy(-self.mean / self.std)
        for rows in _blocks(self.column, _block_rows(len(shift), self.classes)):
            # Unlike `from_numpy`, `from_dlpack` takes what cannot be written.
            yield torch.addcmul(shift, from_dlpack(rows), scale)

    def of(self, column: Column) -> "Standardized":
        """Return other rows, standardized by the same numbers."""
        return replace(self, column=column)

    def held(self) -> Iterable[Tensor]:
        """Return the same rows for many iterations: a single block in memory where they are few."""
        few = len(self.column) * max(len(self.mean), self.classes) <= _HELD
        return [torch.cat(list(self))] if few else self


def standardized(train: Column, *, classes: int) -> Standardized:
    """Return the features of N rows of (D,) float32 with mean 0 and standard deviation 1; what is constant becomes 0.

    `classes` is C of the classifier that they are for.
    """
    (width,) = train.shape
    rows = _block_rows(width, classes)
    mean = _column_means(_blocks(train, rows), len(train))
    std = np.sqrt(_column_means((np.square(block - mean) for block in _blocks(train, rows)), len(train)))
    # What is left of a constant after rounding is no variation.
    std[std <= 4 * np.finfo(np.float32).eps * np.abs(mean)] = 1
    return Standardized(train, mean, std, classes)


def _blocks(column: Column, rows: int) -> Iterator[NDArray[np.float32]]:
    """Yield all rows in order, at most so many at a time: as they are mapped, and so without a copy, if in sequence."""
    for start in range(0, len(column), rows):
        chosen = slice(start, start + rows)
        yield column.values[chosen if column.positions is None else column.positions[chosen]]


def _block_rows(width: int, classes: int) -> int:
    return max(1, min(_READ // width, _HELD // classes))


def _column_means(blocks: Iterable[NDArray[np.float32]], rows: int) -> NDArray[np.float32]:
    """Return (D,) means over all rows, summed in float64."""
    means: NDArray[np.float64] = sum(block.sum(0, dtype=np.float64) for block in blocks) / rows
    return means.astype(np.float32)


class Choice(NamedTuple):
    """The starting point of the last fit."""

    l2: float
    start: Probe  # The classifier fitted with this strength to a part of the training samples.
    curvature: Curvature  # There, of that part.


def validation_order(train: Features, *, seed: int) -> NDArray[np.int64]:
    """Return positions of the training samples, shuffled by content hash; the first are the validation part.

    The hash itself may have decided the split, so that its order is no longer random within one: it is mixed anew.
    """
    sample_ids = train.sample_ids
    # In parts, because a draw takes over 100 bytes and does not depend on the other samples.
    parts = np.array_split(sample_ids, -(-len(sample_ids) // _DRAWS))
    draws = [uniforms(seed=seed, epoch=0, sample_ids=part, stream=_STREAM, count=1)[:, 0] for part in parts]
    return np.lexsort((sample_ids, np.concatenate(draws)))
