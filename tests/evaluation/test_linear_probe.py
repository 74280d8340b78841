from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score
from sklearn.preprocessing import StandardScaler

from cl_core.columns import Column
from cl_core.errors import DataError, SpecError
from cl_core.evaluation.protocols._logistic_regression import Curvature, Probe, fit_logistic_regression
from cl_core.evaluation.protocols.linear_probe import LinearProbe, standardized, validation_order
from cl_core.registry import EVALUATIONS

SETTINGS = {"resamples": 200, "seed": 0}


def fitted(features: np.ndarray, labels: np.ndarray, *, l2: float, tolerance: float = 1e-10) -> Probe:
    examples = [torch.from_numpy(features)]
    start = Probe.zero(features.shape[1], int(labels.max()) + 1)
    curvature = Curvature.at(start, examples)
    return fit_logistic_regression(
        examples, torch.tensor(labels), l2=l2, start=start, curvature=curvature, tolerance=tolerance
    )


def sklearn_fitted(features: np.ndarray, labels: np.ndarray, *, l2: float) -> LogisticRegression:
    return LogisticRegression(C=1 / l2, tol=1e-8, max_iter=10_000).fit(features.astype(np.float64), labels)


def objective(weights: np.ndarray, biases: np.ndarray, features: np.ndarray, labels: np.ndarray, l2: float) -> float:
    """Summed cross-entropy + l2 / 2 * squared weights, term by term."""
    total = 0.0
    for row, label in zip(features.astype(np.float64), labels, strict=True):
        logits = [sum(row * weights[c]) + biases[c] for c in range(len(biases))]
        total += np.log(sum(np.exp(logits))) - logits[label]
    return total + l2 / 2 * (weights**2).sum()


@pytest.mark.parametrize("l2", [0.5, 10.0, 300.0])
def test_the_classifier_is_sklearns(blobs, l2):
    train = blobs(600, seed=2)
    features = StandardScaler().fit_transform(train.embeddings.values)
    ours, theirs = fitted(features, train.labels, l2=l2), sklearn_fitted(features, train.labels, l2=l2)
    np.testing.assert_allclose(ours.weights.numpy(), theirs.coef_, atol=2e-3)
    # Adding one number to all biases changes no probability.
    np.testing.assert_allclose(
        ours.biases.numpy() - ours.biases.numpy().mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=2e-3
    )


@pytest.mark.parametrize("rows", [7, 250, 600])
def test_the_classifier_is_sklearns_whatever_the_size_of_the_blocks(blobs, rows):
    train = blobs(600, seed=2)
    features = StandardScaler().fit_transform(train.embeddings.values)
    examples = torch.from_numpy(features)
    start = Probe.zero(12, 4)
    probe = fit_logistic_regression(
        examples.split(rows),
        torch.tensor(train.labels),
        l2=10.0,
        start=start,
        curvature=Curvature.at(start, examples.split(rows)),
        tolerance=1e-10,
    )
    theirs = sklearn_fitted(features, train.labels, l2=10.0)
    np.testing.assert_allclose(probe.weights.numpy(), theirs.coef_, atol=2e-3)
    np.testing.assert_array_equal(probe.predict(examples.split(rows)), theirs.predict(features))


def test_nothing_near_the_classifier_is_better(blobs):
    train = blobs(80, seed=2)
    features = StandardScaler().fit_transform(train.embeddings.values)
    probe = fitted(features, train.labels, l2=5.0)
    weights, biases = probe.weights.double().numpy(), probe.biases.double().numpy()
    least = objective(weights, biases, features, train.labels, 5.0)
    generator = np.random.default_rng(0)
    for _ in range(10):
        direction = generator.normal(size=weights.shape)
        direction *= 0.02 / np.linalg.norm(direction)
        assert objective(weights + direction, biases, features, train.labels, 5.0) > least


def test_features_are_standardized_as_by_sklearn(blobs):
    train, test = blobs(200, seed=2), blobs(50, seed=3)
    scaler = StandardScaler().fit(train.embeddings.values)
    ours = np.concatenate(list(standardized(train.embeddings, classes=4).of(test.embeddings)))
    np.testing.assert_allclose(ours, scaler.transform(test.embeddings.values), atol=1e-4)


def test_features_that_are_read_in_each_iteration_are_those_that_are_held(monkeypatch, blobs):
    train, test = blobs(200, seed=2), blobs(50, seed=3)
    whole = np.concatenate(list(standardized(train.embeddings, classes=4).of(test.embeddings)))
    monkeypatch.setattr("cl_core.evaluation.protocols.linear_probe._READ", 12 * 30)
    features = standardized(train.embeddings, classes=4)
    (held,) = features.held()
    assert [len(block) for block in features] == [30] * 6 + [20]
    assert torch.cat(list(features)).equal(held)
    np.testing.assert_allclose(np.concatenate(list(features.of(test.embeddings))), whole, atol=1e-6)
    monkeypatch.setattr("cl_core.evaluation.protocols.linear_probe._HELD", 12 * 199)
    assert features.held() is features


def test_many_classes_make_blocks_smaller():
    """16 rows have 64 MiB of logits."""
    features = standardized(Column(np.ones((40, 2), dtype=np.float32)), classes=1 << 20)
    assert [len(block) for block in features.held()] == [16, 16, 8]


def test_the_strength_is_the_one_best_on_the_validation_part(blobs, classes):
    train, test = blobs(150, seed=2), blobs(300, seed=3)
    probe = LinearProbe(l2_strengths=(300, 30, 3, 0.3), validation_share=0.4, tolerance=1e-9)
    outcome = probe(train, test, classes=classes, **SETTINGS)

    features = StandardScaler().fit_transform(train.embeddings.values)
    order = validation_order(train, seed=0)
    held_out, kept = order[:60], order[60:]
    accuracies = {
        l2: sklearn_fitted(features[kept], train.labels[kept], l2=l2).score(features[held_out], train.labels[held_out])
        for l2 in (300, 30, 3, 0.3)
    }
    assert outcome.choices == {"linear_probe.l2": max(accuracies, key=lambda l2: accuracies[l2])}


def test_scores_are_sklearns_on_the_test_split(blobs, classes):
    train, test = blobs(600, seed=2), blobs(400, seed=3)
    outcome = LinearProbe(tolerance=1e-9)(train, test, classes=classes, **SETTINGS)

    scaler = StandardScaler().fit(train.embeddings.values)
    theirs = sklearn_fitted(
        scaler.transform(train.embeddings.values), train.labels, l2=outcome.choices["linear_probe.l2"]
    )
    predicted = theirs.predict(scaler.transform(test.embeddings.values))
    np.testing.assert_array_equal(outcome.predictions["linear_probe"], predicted)
    assert outcome.confusion == confusion_matrix(test.labels, predicted).tolist()
    assert outcome.scores["linear_probe.accuracy"].value == pytest.approx((predicted == test.labels).mean())
    assert outcome.scores["linear_probe.macro_f1"].value == pytest.approx(
        f1_score(test.labels, predicted, average="macro")
    )
    for score in outcome.scores.values():
        assert score.low < score.value < score.high
    assert sorted(outcome.per_class) == classes


def test_test_labels_choose_nothing(blobs, classes):
    train, test = blobs(300, seed=2), blobs(200, seed=3)
    permuted = replace(test, labels=np.random.default_rng(0).permutation(test.labels))
    first = LinearProbe()(train, test, classes=classes, **SETTINGS)
    second = LinearProbe()(train, permuted, classes=classes, **SETTINGS)
    assert first.choices == second.choices
    np.testing.assert_array_equal(first.predictions["linear_probe"], second.predictions["linear_probe"])
    assert first.scores["linear_probe.accuracy"].value > 0.6 > 0.4 > second.scores["linear_probe.accuracy"].value


def test_the_validation_part_follows_the_content_not_the_position(blobs):
    train = blobs(300, seed=2)
    shuffled = train.rows(np.random.default_rng(0).permutation(300))
    first, second = (split.ids[validation_order(split, seed=0)] for split in (train, shuffled))
    np.testing.assert_array_equal(first, second)
    assert (train.ids[validation_order(train, seed=1)] != first).any()


def test_the_validation_part_is_random_although_hashes_decided_the_split(blobs):
    train = blobs(2000, seed=2)
    train = train.rows(train.ids[:, 0] >= 128)
    validation = validation_order(train, seed=0)[: len(train.ids) // 10]
    assert train.ids[validation, 0].mean() == pytest.approx(191.5, abs=8)


def test_the_probe_repeats_itself(blobs, classes):
    train, test = blobs(300, seed=2), blobs(200, seed=3)
    first, second = (LinearProbe()(train, test, classes=classes, **SETTINGS) for _ in range(2))
    assert first.scores == second.scores


def test_features_that_never_vary_change_nothing(blobs, classes):
    train, test = blobs(300, seed=2), blobs(200, seed=3)

    def padded(split):
        constants = np.full((len(split.ids), 2), [0.1, 0], dtype=np.float32)
        return replace(split, embeddings=Column(np.hstack([split.embeddings.values, constants])))

    plain = LinearProbe(tolerance=1e-9)(train, test, classes=classes, **SETTINGS)
    wide = LinearProbe(tolerance=1e-9)(padded(train), padded(test), classes=classes, **SETTINGS)
    assert wide.scores == plain.scores


def test_samples_without_a_label_are_left_out(blobs, classes):
    train, test = blobs(300, seed=2), blobs(200, seed=3)
    train = replace(train, labels=np.where(np.arange(300) % 3 == 0, -1, train.labels))
    half = replace(test, labels=np.where(np.arange(200) < 100, test.labels, -1))
    labeled = train.rows(train.labels >= 0)

    outcome = LinearProbe()(train, half, classes=classes, **SETTINGS)
    expected = LinearProbe()(labeled, test, classes=classes, **SETTINGS)
    np.testing.assert_array_equal(outcome.predictions["linear_probe"], expected.predictions["linear_probe"])
    assert np.sum(outcome.confusion) == 100


def test_classes_may_be_missing_from_either_split(blobs, classes):
    train, test = blobs(400, seed=2), blobs(200, seed=3)
    train = train.rows(train.labels != 1)
    test = test.rows(test.labels != 2)
    outcome = LinearProbe()(train, test, classes=classes, **SETTINGS)
    assert 1 not in outcome.predictions["linear_probe"]
    assert outcome.per_class["boot"]["recall"].value == 0
    assert np.sum(outcome.confusion, axis=1)[2] == 0


def test_a_class_in_neither_split_has_no_scores(blobs, classes):
    outcome = LinearProbe()(blobs(300, seed=2), blobs(200, seed=3), classes=[*classes, "tie"], **SETTINGS)
    assert sorted(outcome.per_class) == classes


def test_data_without_labels_are_refused(blobs, classes):
    train, test = blobs(100, seed=2), blobs(100, seed=3)
    assert LinearProbe.needs_labels
    with pytest.raises(DataError, match="training split has no labeled sample"):
        LinearProbe()(replace(train, labels=None), test, classes=classes, **SETTINGS)
    with pytest.raises(DataError, match="test split has no labeled sample"):
        LinearProbe()(train, replace(test, labels=np.full(100, -1)), classes=classes, **SETTINGS)
    with pytest.raises(DataError, match="got 1 labeled training sample"):
        LinearProbe()(train.rows(np.arange(1)), test, classes=classes, **SETTINGS)


def test_a_strength_of_zero_is_refused():
    with pytest.raises(SpecError, match=r"l2_strengths\.1: input should be greater than 0; got 0"):
        EVALUATIONS.build("linear_probe", {"l2_strengths": [1, 0]}, field="evaluation.protocols")
