"""How well a linear classifier does with a few labels of each class."""

from typing import Annotated, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import stdtrit
from torch import Tensor

from cl_core.errors import SpecError
from cl_core.evaluation.protocols import EvaluatedData, Evaluation, Features, Outcome, label_counts
from cl_core.evaluation.protocols._logistic_regression import Curvature, Probe, fit_logistic_regression
from cl_core.refs import Score
from cl_core.registry import EVALUATIONS
from cl_core.rng import uniforms

# Training features that fix mean and standard deviation; they need no labels.
_STANDARDIZED_BY = 20_000
_TEST_ROWS = 4096
# Nats per sample; see `fit_logistic_regression`.
_TOLERANCE = 1e-7
# Of the draws of samples, away from those of the view policies and of the linear probe.
_STREAM = (1 << 16) - 2


@EVALUATIONS.register("few_labels")
class FewLabels(Evaluation):
    """Logistic regression on standardized features with n labeled training samples of each class, several times.

    A score is the mean accuracy on the test split over draws of the n samples. Its interval is Student's for that mean:
    it says how far another choice of labels may lead, and not how far another test split may.

    Source: Chen et al. 2020, "Big self-supervised models are strong semi-supervised learners", arXiv:2006.10029,
    Sec. 3, where a share of the labels is given. Differences: a number for each class, and the encoder is not
    fine-tuned.
    """

    needs_labels: ClassVar[bool] = True

    per_class: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 10, 100), min_length=1, title="Labels per class")
    """Each n gives a score `few_labels.accuracy_at_N`. The default is reduced to what the rarest class has. Samples."""
    draws: int = Field(10, ge=2, le=1000)
    """Draws of labeled samples. Draws."""
    inverse_strength: float = Field(1.0, gt=0, title="Inverse of L2 strength")
    """C of scikit-learn. Dimensionless."""

    @property
    def predictors(self) -> tuple[str, ...]:
        """No prediction is kept: there is one for each draw."""
        return ()

    def fitted_to(self, labels: EvaluatedData) -> Self:
        """Leave out default numbers that the rarest class does not have.

        Raises:
            SpecError: When a number that was given exceeds what the rarest class has.
        """
        if max(self.per_class) <= labels.rarest:
            return self
        fitting = tuple(number for number in self.per_class if number <= labels.rarest)
        if "per_class" in self.model_fields_set:
            raise SpecError(
                f"evaluation.options.few_labels.per_class: {max(self.per_class)} labels of each class requested, but "
                f"the rarest class has {labels.rarest} training samples; choose fewer, or leave few_labels out"
            )
        return self.model_copy(update={"per_class": fitting})

    def __call__(self, train: Features, test: Features, *, classes: list[str], resamples: int, seed: int) -> Outcome:
        """Classify the test samples; the bootstrap is not used. See `Evaluation` and `fitted_to`."""
        first = train.embeddings.take(slice(_STANDARDIZED_BY))
        mean, std = first.mean(0, dtype=np.float64), first.std(0, dtype=np.float64)
        std[std == 0] = 1
        mean, std = mean.astype(np.float32), std.astype(np.float32)
        train, test = train.labeled("training"), test.labeled("test")
        scores = {}
        for number in self.fitted_to(label_counts(train, test, classes)).per_class:
            accuracies = [
                self._accuracy(train.rows(drawn_of_each_class(train, number, seed=seed, draw=draw)), test, mean, std)
                for draw in range(self.draws)
            ]
            scores[f"few_labels.accuracy_at_{number}"] = mean_over_draws(np.array(accuracies))
        return Outcome(scores=scores)

    def _accuracy(
        self, labeled: Features, test: Features, mean: NDArray[np.float32], std: NDArray[np.float32]
    ) -> float:
        known, groups = np.unique(labeled.groups, return_inverse=True)

        def standardized(rows: NDArray[np.float32]) -> Tensor:
            return torch.from_numpy((rows - mean) / std)

        features = standardized(labeled.embeddings.take(slice(None)))
        probe = fitted_to_few(features, torch.from_numpy(groups), inverse_strength=self.inverse_strength)
        predicted = known[probe.predict(map(standardized, test.embeddings.blocks(_TEST_ROWS)))]
        return float((predicted == test.groups).mean())


def fitted_to_few(features: Tensor, targets: Tensor, *, inverse_strength: float) -> Probe:
    """Return the logistic regression of scikit-learn for (n, D) features and (n,) classes, 0 to C - 1.

    Its weights are sums of features: where those are few, they are looked for in the n dimensions that these span.
    """
    # Of two classes, scikit-learn has one vector of weights, twice as long as each of ours: half the squares.
    l2 = (2 if int(targets.max()) == 1 else 1) / inverse_strength
    basis = torch.linalg.qr(features.T).Q if len(features) < features.shape[1] else torch.eye(features.shape[1])
    reduced = features @ basis
    start = Probe.zero(reduced.shape[1], int(targets.max()) + 1)
    probe = fit_logistic_regression(
        [reduced], targets, l2=l2, start=start, curvature=Curvature.at(start, [reduced]), tolerance=_TOLERANCE
    )
    return Probe(probe.weights @ basis.T, probe.biases)


def drawn_of_each_class(train: Features, number: int, *, seed: int, draw: int) -> NDArray[np.int64]:
    """Return positions of `number` samples of each class: those with the least draws, by content and seed alone."""
    draws = uniforms(seed=seed, epoch=draw, sample_ids=train.sample_ids, stream=_STREAM, count=1)[:, 0]
    by_class = np.lexsort((draws, train.groups))
    groups = train.groups[by_class]
    starts = np.searchsorted(groups, groups)
    chosen: NDArray[np.int64] = np.sort(by_class[np.arange(len(groups)) - starts < number])
    return chosen


def mean_over_draws(values: NDArray[np.float64]) -> Score:
    """Return the mean of (d,) accuracies with Student's 95 % interval, within 0 and 1."""
    mean, error = float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5
    reach = float(stdtrit(len(values) - 1, 0.975)) * error
    return Score(value=mean, low=max(0.0, mean - reach), high=min(1.0, mean + reach))
