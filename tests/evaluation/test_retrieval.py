"""Retrieval, by class and by the other view of a sample, against loops and scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from cl_core.columns import Column
from cl_core.errors import DataError
from cl_core.evaluation.protocols import EvaluatedData, Features, SecondSide
from cl_core.evaluation.protocols._own_ranks import own_ranks
from cl_core.evaluation.protocols.pair_retrieval import PairRetrieval
from cl_core.evaluation.protocols.retrieval import Retrieval, searched
from cl_core.evaluation.protocols.view_retrieval import ViewRetrieval


def ids_of(count: int) -> np.ndarray:
    return np.random.default_rng(9).integers(256, size=(count, 32), dtype=np.uint8)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first, second = first.astype(np.float64), second.astype(np.float64)
    return (first @ second.T) / np.linalg.norm(first, axis=1)[:, None] / np.linalg.norm(second, axis=1)


@pytest.fixture
def embeddings() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(90, 6)).astype(np.float32)


def test_average_precision_is_that_of_scikit_learn_and_recall_that_of_a_loop(embeddings: np.ndarray) -> None:
    groups = np.random.default_rng(1).integers(0, 4, 90)
    hits, precision = searched(embeddings, groups, ks=(1, 5))
    similar = cosines(embeddings, embeddings)
    for query in range(90):
        others = np.delete(np.arange(90), query)
        same = groups[others] == groups[query]
        wanted = average_precision_score(same, similar[query, others])
        assert precision[query] == pytest.approx(wanted, abs=1e-6)
        nearest = others[np.argsort(-similar[query, others])]
        for column, k in enumerate((1, 5)):
            assert hits[query, column] == (groups[nearest[:k]] == groups[query]).any()


def test_a_sample_that_is_alone_in_its_class_has_no_score(embeddings: np.ndarray) -> None:
    groups = np.array([7, *([0] * 50), *([1] * 39)])
    hits, precision = searched(embeddings, groups, ks=(1,))
    assert np.isnan(precision).tolist() == [True] + [False] * 89 and np.isnan(hits[0, 0])


def test_scores_are_means_over_the_labeled_test_samples_and_kept_for_each(embeddings: np.ndarray) -> None:
    groups = np.where(np.arange(90) % 9 == 0, -1, np.arange(90) % 3)
    test = Features(Column(embeddings), groups, ids_of(90))
    outcome = Retrieval(ks=(1,))(test, test, classes=["a", "b", "c"], resamples=200, seed=0)
    assert set(outcome.scores) == set(Retrieval(ks=(1,)).per_sample_scores) == set(outcome.per_sample)
    for name, values in outcome.per_sample.items():
        assert np.isnan(values).tolist() == (groups < 0).tolist()
        assert outcome.scores[name].value == pytest.approx(np.nanmean(values))
        assert outcome.scores[name].low < outcome.scores[name].value < outcome.scores[name].high


def test_without_labels_it_is_refused(embeddings: np.ndarray) -> None:
    test = Features(Column(embeddings), None, ids_of(90))
    with pytest.raises(DataError, match="the test split has no labeled sample"):
        Retrieval()(test, test, classes=[], resamples=200, seed=0)


def test_the_rank_of_the_own_view_is_that_of_a_loop(embeddings: np.ndarray) -> None:
    second = embeddings + np.random.default_rng(2).normal(size=embeddings.shape).astype(np.float32)
    similar = cosines(embeddings, second)
    wanted = [(similar[row] > similar[row, row]).sum() for row in range(90)]
    each = np.arange(90)
    assert own_ranks(embeddings, second, each, each).tolist() == wanted
    assert own_ranks(embeddings, embeddings, each, each).tolist() == [0] * 90
    groups = np.random.default_rng(3).integers(0, 20, 90)
    nearest_own = [similar[row, groups == groups[row]].max() for row in range(90)]
    wanted = [(similar[row, groups != groups[row]] > nearest_own[row]).sum() for row in range(90)]
    assert own_ranks(embeddings, second, groups, groups).tolist() == wanted


def test_embeddings_that_have_collapsed_find_nothing() -> None:
    same = np.ones((20, 4), np.float32)
    assert own_ranks(same, same, np.arange(20), np.arange(20)).tolist() == [19] * 20


def test_views_are_of_the_first_samples_and_need_no_labels(embeddings: np.ndarray) -> None:
    second = embeddings + 0.5
    test = Features(Column(embeddings), None, ids_of(90), views=(embeddings[:40], second[:40]))
    protocol = ViewRetrieval(ks=(1, 3))
    outcome = protocol(test, test, classes=[], resamples=200, seed=0)
    assert set(outcome.scores) == set(protocol.per_sample_scores)
    ranks = own_ranks(embeddings[:40], second[:40], np.arange(40), np.arange(40))
    for name, wanted in {"recall_at_3": ranks < 3, "reciprocal_rank": 1 / (1 + ranks)}.items():
        values = outcome.per_sample[f"view_retrieval.{name}"]
        np.testing.assert_allclose(values[:40], wanted)
        assert np.isnan(values[40:]).all() and outcome.scores[f"view_retrieval.{name}"].value == pytest.approx(
            wanted.mean()
        )


def test_a_share_of_samples_has_the_interval_of_a_share() -> None:
    """All of 30 samples found leave room for those that are not, as Wilson's interval says."""
    groups = np.repeat([0, 1, 2], 10)
    apart = (np.eye(3, 6)[groups] + 0.01 * np.random.default_rng(0).normal(size=(30, 6))).astype(np.float32)
    views = Features(Column(apart), groups, ids_of(30), views=(apart, apart + 0.001 * apart[::-1]))
    outcome = Retrieval(ks=(1,))(views, views, classes=["a", "b", "c"], resamples=200, seed=0)
    low, high = stats.binomtest(30, 30).proportion_ci(method="wilson")
    recall = outcome.scores["retrieval.recall_at_1"]
    assert (recall.value, recall.low, recall.high) == pytest.approx((1, low, high), abs=1e-6)
    found = ViewRetrieval(ks=(1,))(views, views, classes=[], resamples=200, seed=0).scores
    assert found["view_retrieval.recall_at_1"].low == pytest.approx(low, abs=1e-6)


def test_samples_of_a_group_are_found_without_labels(embeddings: np.ndarray) -> None:
    """As those of a class are, whatever the numbers of the groups."""
    classes = np.random.default_rng(1).integers(0, 12, 90)
    labeled = Features(Column(embeddings), classes, ids_of(90))
    numbers = np.random.default_rng(2).integers(1 << 40, 1 << 60, 12, dtype=np.uint64)
    grouped = Features(Column(embeddings), None, ids_of(90), identities=numbers[classes])
    by_label = Retrieval()(labeled, labeled, classes=[str(n) for n in range(12)], resamples=100, seed=0)
    by_group = Retrieval(by="group")(grouped, grouped, classes=[], resamples=100, seed=0)
    assert by_group.scores == by_label.scores
    for name, values in by_label.per_sample.items():
        np.testing.assert_array_equal(by_group.per_sample[name], values)


def pairs_of(first: np.ndarray, second: np.ndarray, identities: np.ndarray | None = None) -> Features:
    same = (np.unique(side, axis=0, return_inverse=True)[1] for side in (first, second))
    return Features(Column(first), None, ids_of(len(first)), second=SecondSide(Column(second), identities, *same))


def test_pairs_find_each_other_as_in_a_loop_and_equal_second_sides_are_one_candidate(embeddings: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    texts = rng.normal(size=(60, 6)).astype(np.float32)
    of = np.array([*range(60), *rng.integers(0, 60, 30)])
    first = embeddings + texts[of]
    identities = rng.integers(1 << 40, 1 << 60, 60, dtype=np.uint64)[of]
    test = pairs_of(first, texts[of], identities)
    protocol = PairRetrieval(ks=(1, 5))
    outcome = protocol(test, test, classes=[], resamples=200, seed=0)
    assert set(outcome.scores) == set(outcome.per_sample) == set(protocol.per_sample_scores)
    forward, backward = cosines(first, texts), cosines(texts, first)
    ranks = np.array([(forward[pair] > forward[pair, of[pair]]).sum() for pair in range(90)])
    own = [backward[text, of == text].max() for text in range(60)]
    of_texts = np.array([(backward[text, of != text] > own[text]).sum() for text in range(60)])
    for k in (1, 5):
        np.testing.assert_array_equal(outcome.per_sample[f"pair_retrieval.recall_at_{k}"], ranks < k)
        assert outcome.scores[f"pair_retrieval.backward_recall_at_{k}"].value == pytest.approx((of_texts < k).mean())
        assert np.isfinite(outcome.per_sample[f"pair_retrieval.backward_recall_at_{k}"]).sum() == 60
    assert outcome.scores["pair_retrieval.reciprocal_rank"].value == pytest.approx((1 / (1 + ranks)).mean())
    # Were equal second sides two candidates, no more than one of them could be first.
    assert outcome.scores["pair_retrieval.recall_at_1"].value > 0.3


def test_another_caption_of_an_image_is_right_and_another_image_of_a_caption_is(embeddings: np.ndarray) -> None:
    """Thirty images with three captions each; the first two images have a caption in common."""
    rng = np.random.default_rng(6)
    images, captions = (
        embeddings[:30],
        rng.normal(size=(90, 6)).astype(np.float32) + np.repeat(embeddings[:30], 3, axis=0),
    )
    captions[3] = captions[0]
    of_images, of_captions = np.repeat(np.arange(30), 3), np.arange(90)
    of_captions[3] = 0
    component = np.where(of_images == 1, 0, of_images)
    second = SecondSide(Column(captions), component.astype(np.uint64), of_images, of_captions)
    test = Features(Column(images[of_images]), None, ids_of(90), second=second)
    outcome = PairRetrieval(ks=(1, 10))(test, test, classes=[], resamples=200, seed=0)
    once = np.unique(of_captions)
    similar = cosines(images, captions[once])
    own = component[once][None] == np.where(np.arange(30) == 1, 0, np.arange(30))[:, None]
    best, back = np.where(own, similar, -np.inf).max(axis=1), np.where(own, similar, -np.inf).max(axis=0)
    ranks = ((similar >= best[:, None]) & ~own).sum(axis=1)
    ranks_back = ((similar >= back[None]) & ~own).sum(axis=0)
    for k in (1, 10):
        assert outcome.scores[f"pair_retrieval.recall_at_{k}"].value == pytest.approx((ranks < k).mean())
        assert outcome.scores[f"pair_retrieval.backward_recall_at_{k}"].value == pytest.approx((ranks_back < k).mean())
        # Each image asks once, and so does each caption.
        assert np.isfinite(outcome.per_sample[f"pair_retrieval.recall_at_{k}"]).sum() == 30
        assert np.isfinite(outcome.per_sample[f"pair_retrieval.backward_recall_at_{k}"]).sum() == 89


def test_without_identities_each_pair_is_its_own_and_only_so_many_are_compared(embeddings: np.ndarray) -> None:
    test = pairs_of(embeddings, embeddings[::-1].copy())
    whole = PairRetrieval(ks=(1,))(test, test, classes=[], resamples=200, seed=0)
    similar = cosines(embeddings, embeddings[::-1])
    wanted = (similar.argmax(axis=1) == np.arange(90)).mean()
    assert whole.scores["pair_retrieval.recall_at_1"].value == pytest.approx(wanted)
    few = PairRetrieval(ks=(1,), pairs=20)(test, test, classes=[], resamples=200, seed=0)
    kept = np.isfinite(few.per_sample["pair_retrieval.recall_at_1"])
    assert kept.sum() == 20 and set(np.flatnonzero(kept)) == set(np.argsort(test.sample_ids)[:20])


def test_what_is_not_pairs_is_refused(embeddings: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"pair_retrieval needs pairs.*such as text_pair, or leave pair_retrieval out"):
        PairRetrieval().fitted_to(EvaluatedData({}, {}))
    alone = Features(Column(embeddings), None, ids_of(90))
    assert PairRetrieval()(alone, alone, classes=[], resamples=200, seed=0).scores == {}
