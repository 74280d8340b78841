import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
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
    share_score,
    unbiased_score,
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


@pytest.mark.parametrize(("right", "samples"), [(870, 1000), (0, 7), (7, 7), (1, 1), (33, 34), (1, 20)])
def test_the_interval_of_an_accuracy_is_that_of_wilson(right, samples):
    score = accuracy_score(np.arange(samples) < right)
    theirs = stats.binomtest(right, samples).proportion_ci(method="wilson")
    assert score.value == right / samples
    assert (score.low, score.high) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_without_samples_a_share_can_be_anything():
    assert share_score(0.0, 0) == Score(value=0, low=0, high=1)


@pytest.mark.parametrize(("share", "samples"), [(0.87, 500), (0.5, 50), (0.97, 100), (0.99, 1000)])
def test_the_interval_of_an_accuracy_holds_the_truth_95_times_in_100(share, samples):
    """Exactly: over how many are right, with the chance of each."""
    rights = np.arange(samples + 1)
    scores = [share_score(right / samples, samples) for right in rights]
    held = np.array([score.low <= share <= score.high for score in scores])
    assert stats.binom(samples, share).pmf(rights) @ held == pytest.approx(0.95, abs=0.025)


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


def test_a_statistic_that_is_less_of_a_resample_is_not_outside_its_interval():
    """How many different samples there are: all 200, of which a resample draws 63 %."""
    drawn = np.concatenate(list(resample_counts(200, resamples=2000, seed=0)))
    different = (drawn > 0).sum(1).astype(np.float64)
    score = unbiased_score(200.0, different)
    assert different.max() < 150
    assert score.low < 200 < score.high
    assert score.high - score.low == pytest.approx(np.diff(np.quantile(different, [0.025, 0.975])).item())


def test_scores_of_classes_are_those_of_sklearn():
    generator = np.random.default_rng(0)
    labels = generator.choice(6, 400, p=[0.4, 0.3, 0.2, 0.1, 0, 0])
    # Class 2 is never predicted, class 4 neither true nor predicted, class 5 predicted but never true.
    predicted = np.where(generator.random(400) < 0.7, labels, generator.choice([0, 1, 3, 5], 400))
    predicted[predicted == 2] = 0
    confusion = confusion_matrix(labels, predicted, classes=6)
    np.testing.assert_array_equal(confusion, sklearn_confusion(labels, predicted, labels=range(6)))

    scores, per_class = classification_scores(confusion, classes=list("abcdef"), resamples=1000, seed=0)
    present = {"labels": [0, 1, 2, 3], "zero_division": 0}
    theirs = precision_recall_fscore_support(labels, predicted, **present)
    macro = precision_recall_fscore_support(labels, predicted, average="macro", **present)
    assert list(per_class) == ["a", "b", "c", "d"]
    for row, name in enumerate(("precision", "recall", "f1")):
        assert [per_class[group][name].value for group in "abcd"] == pytest.approx(theirs[row])
        assert scores[f"macro_{name}"].value == pytest.approx(macro[row])
    assert scores["accuracy"].value == pytest.approx((labels == predicted).mean())
    right, asked = confusion[1, 1], confusion[1].sum()
    wilson = stats.binomtest(int(right), int(asked)).proportion_ci(method="wilson")
    assert (per_class["b"]["recall"].low, per_class["b"]["recall"].high) == pytest.approx(tuple(wilson), abs=1e-6)


def test_the_interval_of_a_macro_score_has_the_width_of_resampled_samples():
    generator = np.random.default_rng(0)
    labels = generator.choice(3, 300)
    predicted = np.where(generator.random(300) < 0.8, labels, generator.choice(3, 300))
    scores, _ = classification_scores(
        confusion_matrix(labels, predicted, classes=3), classes=list("abc"), resamples=4000, seed=0
    )
    macro = []
    for _ in range(2000):
        drawn = generator.integers(300, size=300)
        true, guess = labels[drawn], predicted[drawn]
        f1 = [2 * ((true == c) & (guess == c)).sum() / ((true == c).sum() + (guess == c).sum()) for c in range(3)]
        macro.append(np.mean(f1))
    ours = scores["macro_f1"]
    assert ours.high - ours.low == pytest.approx(np.diff(np.quantile(macro, [0.025, 0.975])).item(), rel=0.06)


def test_all_right_on_few_samples_of_many_classes_is_no_proof_and_no_contradiction():
    """34 samples of 30 classes: a class that a resample does not draw is no class that was got wrong."""
    confusion = np.diag([2] * 4 + [1] * 26)
    scores, _ = classification_scores(confusion, classes=[str(group) for group in range(30)], resamples=500, seed=0)
    wilson = stats.binomtest(34, 34).proportion_ci(method="wilson").low
    assert scores["accuracy"].low == pytest.approx(wilson, abs=1e-6)
    for name in ("macro_precision", "macro_recall", "macro_f1"):
        # As many samples as give the variance of a mean over classes: 30^2 / (26 / 1 + 4 / 2) = 32.1.
        assert scores[name].value == scores[name].high == 1
        assert scores[name].low == pytest.approx(1 / (1 + 1.959964**2 / (900 / 28)), abs=1e-6)


@given(
    hnp.arrays(np.int64, st.integers(1, 5).map(lambda side: (side, side)), elements=st.integers(0, 6)),
    st.integers(0, 9),
)
def test_every_estimate_lies_in_its_interval_and_every_interval_between_0_and_1(confusion, seed):
    assume(confusion.sum())
    names = [str(group) for group in range(len(confusion))]
    scores, per_class = classification_scores(confusion, classes=names, resamples=20, seed=seed)
    for score in [*scores.values(), *(score for of_class in per_class.values() for score in of_class.values())]:
        assert 0 <= score.low <= score.value <= score.high <= 1


@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-100, 100)), st.integers(0, 9))
def test_every_mean_and_gain_lies_in_its_interval(values, seed):
    scores = [mean_score(values, resamples=10, seed=seed), paired_gain(values > 0, values > 1, resamples=10, seed=seed)]
    assert all(score.low <= score.value <= score.high for score in scores)


def coverage(classes, samples, share, *, prior, trials, resamples):
    """How often the intervals of macro scores hold the truth, wrong answers being spread over all other classes."""
    joint = np.where(np.eye(classes, dtype=bool), share, (1 - share) / (classes - 1)) * prior[:, None]
    right, true, predicted = np.diag(joint), joint.sum(1), joint.sum(0)
    truth = {
        "macro_precision": (right / predicted).mean(),
        "macro_recall": (right / true).mean(),
        "macro_f1": (2 * right / (true + predicted)).mean(),
    }
    generator, names = np.random.default_rng(0), [str(group) for group in range(classes)]
    held = Counter()
    for trial in range(trials):
        confusion = generator.multinomial(samples, joint.ravel()).reshape(classes, classes)
        scores, _ = classification_scores(confusion, classes=names, resamples=resamples, seed=trial)
        held.update(name for name, value in truth.items() if scores[name].low <= value <= scores[name].high)
    return {name: held[name] / trials for name in truth}


@pytest.mark.sweep
@pytest.mark.parametrize("samples", [100, 1000])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.8, 0.9, 0.95])
def test_intervals_of_macro_scores_of_ten_balanced_classes_hold_the_truth_93_to_97_times_in_100(share, samples):
    held = coverage(10, samples, share, prior=np.full(10, 0.1), trials=2000, resamples=500)
    assert all(0.93 <= of_score <= 0.97 for of_score in held.values()), held
