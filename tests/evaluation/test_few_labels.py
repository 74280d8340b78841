"""A few labels of each class: which are drawn, and what is learned from them."""

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.linear_model import LogisticRegression

from cl_core.columns import Column
from cl_core.errors import SpecError
from cl_core.evaluation.protocols import Features
from cl_core.evaluation.protocols.few_labels import (
    FewLabels,
    drawn_of_each_class,
    fitted_to_few,
    mean_over_draws,
)

CLASSES = ["a", "b", "c"]


def split(count: int, seed: int, *, spread: float = 1.0) -> Features:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 3, count)
    embeddings = (10 + 3 * np.eye(3, 5)[groups] + spread * rng.normal(size=(count, 5))).astype(np.float32)
    return Features(Column(embeddings), groups, rng.integers(256, size=(count, 32), dtype=np.uint8))


def measured(train: Features, test: Features, **options: object):
    return FewLabels(**options)(train, test, classes=CLASSES, resamples=100, seed=3)


def test_so_many_of_each_class_are_drawn_and_other_draws_take_others() -> None:
    train = split(300, 0)
    first, second = (drawn_of_each_class(train, 7, seed=0, draw=draw) for draw in (0, 1))
    assert np.bincount(train.groups[first]).tolist() == [7, 7, 7] and len(set(first)) == 21
    assert 0 < len(set(first) & set(second)) < 15
    # More labels are the same ones and others.
    assert set(first) <= set(drawn_of_each_class(train, 9, seed=0, draw=0))


def test_each_score_is_the_mean_over_draws_of_scikit_learns_classifier() -> None:
    train, test = split(400, 0), split(200, 1)
    outcome = measured(train, test, per_class=(5,), draws=4)
    rows = train.embeddings.values
    scale = rows.mean(0), rows.std(0)
    accuracies = []
    for draw in range(4):
        drawn = drawn_of_each_class(train, 5, seed=3, draw=draw)
        probe = LogisticRegression(max_iter=1000).fit((rows[drawn] - scale[0]) / scale[1], train.groups[drawn])
        accuracies.append(probe.score((test.embeddings.values - scale[0]) / scale[1], test.groups))
    found = outcome.scores["few_labels.accuracy_at_5"]
    assert found.value == pytest.approx(np.mean(accuracies), abs=0.006)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize(("samples", "width"), [(14, 40), (60, 40)])
def test_the_classifier_of_few_samples_is_scikit_learns(classes: int, samples: int, width: int) -> None:
    rng = np.random.default_rng(0)
    groups = np.arange(samples) % classes
    features = (rng.normal(size=(classes, width))[groups] + 2 * rng.normal(size=(samples, width))).astype(np.float32)
    probe = fitted_to_few(torch.from_numpy(features), torch.from_numpy(groups), inverse_strength=0.5)
    theirs = LogisticRegression(C=0.5, tol=1e-8, max_iter=10_000).fit(features.astype(np.float64), groups)
    unseen = rng.normal(size=(200, width)).astype(np.float32)
    shares = torch.nn.functional.linear(torch.from_numpy(unseen), *probe).softmax(dim=1)
    np.testing.assert_allclose(shares.numpy(), theirs.predict_proba(unseen.astype(np.float64)), atol=5e-3)


def test_more_labels_are_better() -> None:
    outcome = measured(split(300, 0, spread=2.5), split(400, 1, spread=2.5), per_class=(1, 30), draws=8)
    assert list(outcome.scores) == ["few_labels.accuracy_at_1", "few_labels.accuracy_at_30"]
    one, thirty = (score.value for score in outcome.scores.values())
    assert 0.4 < one < thirty - 0.05


def test_the_interval_of_a_mean_over_draws_is_students() -> None:
    values = np.array([0.5, 0.6, 0.7, 0.6])
    found = mean_over_draws(values)
    low, high = scipy.stats.t.interval(0.95, 3, loc=0.6, scale=scipy.stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((0.6, low, high))


def test_default_numbers_that_a_class_lacks_are_left_out() -> None:
    outcome = measured(split(60, 0), split(60, 1), draws=2)
    assert list(outcome.scores) == ["few_labels.accuracy_at_1", "few_labels.accuracy_at_10"]


def test_numbers_that_a_class_lacks_are_refused() -> None:
    with pytest.raises(SpecError, match=r"per_class: 50 labels of each class requested, but the rarest class has \d+"):
        measured(split(60, 0), split(60, 1), per_class=(10, 50))
