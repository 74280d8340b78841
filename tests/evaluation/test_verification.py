"""Verification of pairs, against scikit-learn, loops and what the data must give."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from cl_core.columns import Column
from cl_core.errors import DataError
from cl_core.evaluation.protocols import EvaluatedData, Features
from cl_core.evaluation.protocols.verification import Verification, best_threshold, draw_pairs, fold_thresholds, rates

CLASSES = [f"class-{number:02}" for number in range(24)]
SEEN = 4  # The first classes have training samples.


def split(groups: np.ndarray, *, noise: float, seed: int = 0) -> Features:
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(len(CLASSES), 8))
    rows = centers[groups] + noise * rng.normal(size=(len(groups), 8))
    return Features(Column(rows.astype(np.float32)), groups, rng.integers(256, size=(len(groups), 32), dtype=np.uint8))


@pytest.fixture(scope="module")
def train() -> Features:
    return split(np.arange(40) % SEEN, noise=0.5, seed=1)


@pytest.fixture(scope="module")
def test() -> Features:
    return split(np.random.default_rng(3).integers(-1, len(CLASSES), 600), noise=0.8)


def verified(train: Features, test: Features, **options: object):
    return Verification(**options)(train, test, classes=CLASSES, resamples=200, seed=5)


@pytest.fixture
def pairs(test):
    return draw_pairs(test.groups, np.arange(SEEN, len(CLASSES)), folds=5, count=800, seed=5)


def test_pairs_are_different_of_classes_never_trained_on_and_as_many_of_one_class_as_of_two(test, pairs):
    assert len({frozenset(pair) for pair in zip(pairs.first, pairs.second, strict=True)}) == len(pairs.first) == 800
    assert (pairs.first != pairs.second).all() and pairs.classes.min() >= SEEN
    assert (pairs.classes == np.stack([test.groups[pairs.first], test.groups[pairs.second]], axis=1)).all()
    assert (pairs.same == (pairs.classes[:, 0] == pairs.classes[:, 1])).all()
    assert [(pairs.same & (pairs.fold == fold)).sum() for fold in range(5)] == [80] * 5
    assert [(~pairs.same & (pairs.fold == fold)).sum() for fold in range(5)] == [80] * 5


def test_a_class_is_in_one_fold_and_all_classes_are_drawn_alike(pairs):
    folds = {group: set(pairs.fold[(pairs.classes == group).any(axis=1)]) for group in range(SEEN, len(CLASSES))}
    assert all(len(of) == 1 for of in folds.values()) and set.union(*folds.values()) == set(range(5))
    drawn = np.bincount(pairs.classes[pairs.same, 0])[SEEN:]
    assert drawn.min() >= 8 and drawn.max() <= 36  # 20 expected of each, with a standard deviation of 4.


def test_few_samples_give_the_pairs_there_are():
    found = draw_pairs(np.repeat(np.arange(4), 2), np.arange(4), folds=2, count=1000, seed=0)
    assert found.same.sum() == 4  # One of each class,
    assert (~found.same).sum() == 4  # and as many of two.


def test_the_threshold_is_the_best_of_all_by_a_loop(test, pairs):
    rng = np.random.default_rng(0)
    for size in (2, 9, 40):
        cosines, same = rng.integers(0, 8, size) / 8, rng.random(size) < 0.5
        right = {t: ((cosines >= t) == same).sum() for t in np.arange(-0.5, 9) / 8}
        found = best_threshold(cosines, same)
        assert ((cosines >= found) == same).sum() == max(right.values())
        assert not any(count == max(right.values()) for t, count in right.items() if t < found and t > found - 1 / 8)


def test_a_folds_threshold_is_chosen_without_it(pairs):
    """Similarities of the last fold are turned upside down: its accuracy is 0, and the others keep theirs."""
    cosines = np.where(pairs.same, 0.9, 0.1)
    cosines[pairs.fold == 4] = 1 - cosines[pairs.fold == 4]
    right = (cosines >= fold_thresholds(cosines, pairs)) == pairs.same
    assert [right[pairs.fold == fold].mean() for fold in range(5)] == [1, 1, 1, 1, 0]


def test_rates_and_area_are_those_of_scikit_learn(train, test):
    outcome = verified(train, test, pairs=800, folds=5, false_accepts_one_in=(10, 100))
    found = draw_pairs(test.groups, np.arange(SEEN, len(CLASSES)), folds=5, count=800, seed=5)
    unit = test.embeddings.values.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1)[:, None]
    cosines = (unit[found.first] * unit[found.second]).sum(1)
    assert outcome.scores["verification.auc"].value == pytest.approx(roc_auc_score(found.same, cosines), abs=1e-12)
    far, tar, _ = roc_curve(found.same, cosines, drop_intermediate=False)
    for one_in in (10, 100):
        name = f"verification.tar_at_far_1_in_{one_in}"
        assert outcome.scores[name].value == pytest.approx(tar[far <= 1 / one_in].max())
    assert outcome.roc[0] == (0, 0) and outcome.roc[-1] == (1, 1) and len(outcome.roc) == 200
    assert set(outcome.roc) <= {(x, y) for x, y in zip(far, tar, strict=True)}
    right = (cosines >= fold_thresholds(cosines, found)) == found.same
    assert outcome.scores["verification.accuracy"].value == pytest.approx(right.mean())
    assert all(score.low <= score.value <= score.high for score in outcome.scores.values())


def test_pairs_that_count_several_times_are_pairs_written_several_times():
    rng = np.random.default_rng(2)
    cosines, same, weights = -np.sort(-rng.random(30)), rng.random(30) < 0.4, rng.integers(0, 4, 30)
    far, tar = rates(same, weights[None].astype(float), np.arange(30))
    wanted = roc_curve(np.repeat(same, weights), np.repeat(cosines, weights), drop_intermediate=False)
    assert {(round(x, 12), round(y, 12)) for x, y in zip(far[0], tar[0], strict=True)} == {
        (round(x, 12), round(y, 12)) for x, y in zip(*wanted[:2], strict=True)
    }


def test_collapsed_embeddings_verify_nothing(train, test):
    same_row = Features(Column(np.ones((len(test.ids), 8), np.float32)), test.groups, test.ids)
    scores = verified(train, same_row, pairs=400).scores
    assert {name.removeprefix("verification."): score.value for name, score in scores.items()} == {
        "accuracy": 0.5,
        "auc": 0.5,
        "tar_at_far_1_in_100": 0.0,
    }


def test_a_rate_that_the_pairs_cannot_resolve_has_no_score(train, test):
    names = set(verified(train, test, pairs=400).scores)
    assert "verification.tar_at_far_1_in_100" in names and "verification.tar_at_far_1_in_1000" not in names


def test_intervals_are_wider_with_fewer_classes(train):
    """Many samples of few classes say little of other classes."""
    widths = []
    for classes in (SEEN + 4, len(CLASSES)):
        groups = np.random.default_rng(3).integers(SEEN, classes, 1200)
        score = verified(train, split(groups, noise=0.8), pairs=2000, folds=2).scores["verification.auc"]
        widths.append(score.high - score.low)
    assert widths[0] > 1.5 * widths[1]


def counts(unseen: int, samples: int = 5) -> EvaluatedData:
    return EvaluatedData({"seen": 30}, {"seen": 5, "alone": 1} | {f"new-{n}": samples for n in range(unseen)})


def test_folds_by_default_are_those_that_the_classes_allow():
    assert [Verification().fitted_to(counts(n)).folds for n in (4, 9, 20, 50)] == [2, 4, 10, 10]
    assert Verification(folds=3).fitted_to(counts(6)).folds == 3


@pytest.mark.parametrize(
    ("options", "labels", "least", "there"),
    [({}, counts(3), 4, 3), ({"folds": 5}, counts(9), 10, 9), ({}, counts(8, samples=1), 4, 0)],
)
def test_too_few_classes_are_refused_with_what_to_do(options, labels, least, there):
    with pytest.raises(DataError) as caught:
        Verification(**options).fitted_to(labels)
    assert str(caught.value) == (
        f"verification needs at least {least} classes with two test samples or more and without a training sample; "
        f"there are {there}. Keep each class in one split (data.group is then column:NAME with the column of the "
        "label, or folder:1 where folders are classes), or leave verification out of evaluation.protocols"
    )
