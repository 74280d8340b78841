import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import precision_recall_fscore_support

from cl_core.evaluation.bootstrap import (
    accuracy_score,
    classification_scores,
    confusion_matrix,
    mean_score,
    paired_gain,
    resample_counts,
    resample_table,
)
from cl_core.refs import Score


def test_every_resample_draws_as_many_samples_as_there_are():
    counts = np.concatenate(list(resample_counts(700, resamples=1000, seed=0)))
    assert counts.shape == (1000, 700)
    assert (counts.sum(axis=1) == 700).all()
    # How often a sample is drawn is binomial with mean 1 and variance 1 - 1 / N.
    assert counts.var() == pytest.approx(1 - 1 / 700, abs=0.01)


def test_resamples_of_a_table_are_those_of_the_samples_it_counts():
    outcomes = np.repeat([0, 1, 2], [70, 20, 10])
    from_samples = np.concatenate(list(resample_counts(100, resamples=20_000, seed=0))) @ np.eye(3)[outcomes]
    from_table = resample_table(np.array([70, 20, 10]), resamples=20_000, seed=1)
    np.testing.assert_allclose(from_table.mean(0), from_samples.mean(0), atol=0.15)
    np.testing.assert_allclose(np.cov(from_table.T), np.cov(from_samples.T), atol=0.6)


def test_the_interval_of_a_mean_is_that_of_scipy():
    values = np.random.default_rng(0).exponential(size=500)
    ours = mean_score(values, resamples=20_000, seed=0)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1), vectorized=True
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_the_interval_of_an_accuracy_is_the_quantiles_of_a_binomial():
    score = accuracy_score(np.arange(1000) < 870, resamples=50_000, seed=0)
    assert score.value == 0.87
    assert score.low == pytest.approx(stats.binom(1000, 0.87).ppf(0.025) / 1000, abs=0.0011)
    assert score.high == pytest.approx(stats.binom(1000, 0.87).ppf(0.975) / 1000, abs=0.0011)


def test_the_interval_of_an_accuracy_holds_the_truth_95_times_in_100():
    generator = np.random.default_rng(0)
    held = 0
    for trial in range(2000):
        score = accuracy_score(generator.random(500) < 0.87, resamples=500, seed=trial)
        held += score.low <= 0.87 <= score.high
    # Standard error 0.5 %; the percentile interval of a binomial falls a little short of 95 %.
    assert held / 2000 == pytest.approx(0.945, abs=0.015)


@pytest.mark.integration
def test_equally_good_classifiers_differ_5_times_in_100():
    generator = np.random.default_rng(0)
    told_apart = 0
    for trial in range(2000):
        hard = generator.random(500)
        first, second = hard + generator.normal(0, 0.1, (2, 500)) < 0.8
        gain = paired_gain(first, second, resamples=500, seed=trial)
        told_apart += gain.low > 0 or gain.high < 0
    assert told_apart / 2000 == pytest.approx(0.05, abs=0.015)


def test_the_paired_interval_has_the_width_of_discordant_pairs():
    first = np.repeat([True, True, False, False], [800, 60, 40, 100])
    second = np.repeat([True, False, True, False], [800, 60, 40, 100])
    gain = paired_gain(first, second, resamples=50_000, seed=0)
    # Variance of the mean of +1 (60 times), -1 (40 times) and 0 over 1,000 samples.
    deviation = math.sqrt((100 / 1000 - 0.02**2) / 1000)
    assert gain.value == pytest.approx(0.02)
    assert gain.high - gain.low == pytest.approx(2 * 1.96 * deviation, rel=0.04)


def test_a_classifier_gains_nothing_over_itself():
    right = np.arange(100) < 80
    assert paired_gain(right, right, resamples=1000, seed=0) == Score(value=0, low=0, high=0)


def test_classifiers_that_answered_different_samples_are_not_compared():
    with pytest.raises(ValueError, match="got 3 and 4 answers"):
        paired_gain(np.ones(3, dtype=bool), np.ones(4, dtype=bool), resamples=100, seed=0)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).normal(size=100)
    assert mean_score(values, resamples=200, seed=3) == mean_score(values, resamples=200, seed=3)
    assert mean_score(values, resamples=200, seed=3) != mean_score(values, resamples=200, seed=4)


def test_scores_of_classes_are_those_of_sklearn():
    generator = np.random.default_rng(0)
    labels = generator.choice(5, 400, p=[0.4, 0.3, 0.2, 0.1, 0])
    # Class 2 is never predicted, class 4 neither true nor predicted.
    predicted = np.where(generator.random(400) < 0.7, labels, generator.choice(4, 400))
    predicted[predicted == 2] = 0
    confusion = confusion_matrix(labels, predicted, classes=5)
    np.testing.assert_array_equal(confusion, sklearn_confusion(labels, predicted, labels=range(5)))

    scores, per_class = classification_scores(confusion, classes=list("abcde"), resamples=1000, seed=0)
    theirs = precision_recall_fscore_support(labels, predicted, zero_division=0)
    macro = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    assert list(per_class) == ["a", "b", "c", "d"]
    for row, name in enumerate(("precision", "recall", "f1")):
        assert [per_class[group][name].value for group in "abcd"] == pytest.approx(theirs[row])
        assert scores[f"macro_{name}"].value == pytest.approx(macro[row])
    assert scores["accuracy"].value == pytest.approx((labels == predicted).mean())


def test_intervals_of_class_scores_are_those_of_resampled_samples():
    generator = np.random.default_rng(0)
    labels = generator.choice(3, 300)
    predicted = np.where(generator.random(300) < 0.8, labels, generator.choice(3, 300))
    scores, per_class = classification_scores(
        confusion_matrix(labels, predicted, classes=3), classes=list("abc"), resamples=4000, seed=0
    )
    macro, recall = [], []
    for _ in range(4000):
        drawn = generator.integers(300, size=300)
        true, guess = labels[drawn], predicted[drawn]
        f1 = [2 * ((true == c) & (guess == c)).sum() / ((true == c).sum() + (guess == c).sum()) for c in range(3)]
        macro.append(np.mean(f1))
        recall.append((guess[true == 1] == 1).mean())
    for ours, theirs in ((scores["macro_f1"], macro), (per_class["b"]["recall"], recall)):
        np.testing.assert_allclose([ours.low, ours.high], np.quantile(theirs, [0.025, 0.975]), atol=0.006)
