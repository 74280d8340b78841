import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from cl_core.columns import Column
from cl_core.errors import DataError, SpecError
from cl_core.evaluation.nearest import Neighbors, nearest, nearest_in_blocks, vote
from cl_core.evaluation.protocols import EvaluatedData, Features
from cl_core.evaluation.protocols.knn import Knn

SETTINGS = {"resamples": 200, "seed": 0}


def test_votes_are_those_of_the_paper(blobs, classes):
    train, test = blobs(60, seed=2), blobs(40, seed=3)
    outcome = Knn(ks=(7,), temperature=0.2)(train, test, classes=classes, **SETTINGS)
    for query, predicted in zip(test.embeddings.values.astype(np.float64), outcome.predictions["knn_7"], strict=True):
        cosines = [query @ row / np.linalg.norm(query) / np.linalg.norm(row) for row in train.embeddings.values]
        votes = [0.0] * len(classes)
        for neighbor in sorted(range(60), key=lambda i: -cosines[i])[:7]:
            votes[train.labels[neighbor]] += math.exp(cosines[neighbor] / 0.2)
        assert predicted == votes.index(max(votes))


def test_predictions_are_sklearns(blobs, classes):
    train, test = blobs(1000, seed=2), blobs(300, seed=3)
    outcome = Knn()(train, test, classes=classes, **SETTINGS)
    for k in (20, 200):
        theirs = KNeighborsClassifier(
            k, metric="cosine", algorithm="brute", weights=lambda distances: np.exp((1 - distances) / 0.1)
        ).fit(train.embeddings.values.astype(np.float64), train.labels)
        predicted = theirs.predict(test.embeddings.values.astype(np.float64))
        np.testing.assert_array_equal(outcome.predictions[f"knn_{k}"], predicted)
        score = outcome.scores[f"knn_{k}.accuracy"]
        assert score.value == pytest.approx((predicted == test.labels).mean())
        assert score.low < score.value < score.high


@pytest.mark.parametrize("tile", [16, 100, 5000])
@pytest.mark.parametrize("distinct", [4, 90])
@pytest.mark.parametrize(("bank", "k"), [(5, 1), (5, 5), (16, 16), (31, 20), (100, 3), (1000, 200)])
def test_the_nearest_are_those_of_a_full_sort_and_the_earlier_of_equals(monkeypatch, bank, k, distinct, tile):
    monkeypatch.setattr("cl_core.evaluation.nearest._TILE", tile)
    generator = np.random.default_rng(bank)
    # Few distinct directions, so that most or many similarities are equal.
    directions = torch.from_numpy(generator.normal(size=(distinct, 4)).astype(np.float32))
    directions = torch.nn.functional.normalize(directions)[generator.integers(distinct, size=bank)]
    queries = torch.from_numpy(generator.normal(size=(30, 4)).astype(np.float32))
    # All in one product, where equal directions have equal bits.
    cosines = torch.nn.functional.normalize(queries, dim=1) @ torch.nn.functional.normalize(directions, dim=1).T
    expected = cosines.sort(dim=1, descending=True, stable=True)
    found = nearest(queries, directions, k=k)
    torch.testing.assert_close(found.positions, expected.indices[:, :k])
    torch.testing.assert_close(found.cosines, expected.values[:, :k])


def test_many_queries_are_answered_block_by_block(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    queries, bank = torch.randn(50, 8, generator=generator), torch.randn(70, 8, generator=generator)
    whole = nearest(queries, bank, k=9)
    monkeypatch.setattr("cl_core.evaluation.nearest._SIMILARITIES", 7 * 80)
    torch.testing.assert_close(nearest(queries, bank, k=9), whole)


@pytest.mark.parametrize("k", [1, 20, 150])
@pytest.mark.parametrize(("bank_rows", "query_rows"), [(100, 200), (333, 64), (700, 50)])
def test_a_bank_that_is_read_in_blocks_has_the_same_neighbors_bit_for_bit(monkeypatch, k, bank_rows, query_rows):
    generator = np.random.default_rng(k)
    bank = generator.normal(size=(700, 24)).astype(np.float32)
    bank[400:] = bank[generator.integers(30, size=300)]  # Copies, far from what they are copies of.
    queries = np.concatenate([bank[:40], generator.normal(size=(160, 24)).astype(np.float32)])
    order = generator.permutation(700)
    whole = nearest(torch.from_numpy(queries), torch.from_numpy(bank[order]), k=k)
    monkeypatch.setattr("cl_core.evaluation.nearest._NUMBERS", 24 * bank_rows)
    monkeypatch.setattr("cl_core.evaluation.nearest._NEIGHBORS", k * query_rows)
    found = list(nearest_in_blocks(Column(queries), Column(bank, order), k=k))
    assert len(found) == -(-200 // min(bank_rows, query_rows))
    for ours, expected in zip(zip(*found, strict=True), whole, strict=True):
        assert torch.equal(torch.cat(ours), expected)


def test_votes_for_many_classes_are_counted_block_by_block(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    neighbors = Neighbors(*torch.randn(50, 70, generator=generator).sort(dim=1, descending=True))
    groups = torch.randint(9, (70,), generator=generator)
    whole = vote(neighbors, groups, k=30, classes=9, temperature=0.5)
    monkeypatch.setattr("cl_core.evaluation.nearest._SIMILARITIES", 7 * 9)
    assert torch.equal(vote(neighbors, groups, k=30, classes=9, temperature=0.5), whole)
    assert len(whole.unique()) > 3


def test_collapsed_features_vote_by_the_least_hashes(classes):
    labels = np.array([0] * 10 + [1] * 30)
    ids = np.zeros((40, 32), dtype=np.uint8)
    ids[:, 31] = np.arange(40)
    shuffle = np.random.default_rng(0).permutation(40)
    train = Features(Column(np.ones((40, 3), dtype=np.float32)), labels[shuffle], ids[shuffle])
    test = Features(Column(np.ones((5, 3), dtype=np.float32)), np.zeros(5, dtype=np.int64), ids[:5])
    outcome = Knn(ks=(15, 40))(train, test, classes=classes, **SETTINGS)
    assert outcome.predictions["knn_15"].tolist() == [0] * 5
    assert outcome.predictions["knn_40"].tolist() == [1] * 5


def test_the_order_of_the_training_samples_does_not_matter(blobs, classes):
    train, test = blobs(500, seed=2), blobs(100, seed=3)
    shuffled = train.rows(np.random.default_rng(0).permutation(500))
    first, second = (Knn()(split, test, classes=classes, **SETTINGS) for split in (train, shuffled))
    np.testing.assert_array_equal(first.predictions["knn_20"], second.predictions["knn_20"])


def test_samples_without_a_label_are_left_out(blobs, classes):
    train, test = blobs(500, seed=2), blobs(100, seed=3)
    train = replace(train, labels=np.where(np.arange(500) % 2, train.labels, -1))
    half = replace(test, labels=np.where(np.arange(100) < 50, test.labels, -1))
    outcome = Knn()(train, half, classes=classes, **SETTINGS)
    expected = Knn()(train.rows(train.labels >= 0), test, classes=classes, **SETTINGS)
    np.testing.assert_array_equal(outcome.predictions["knn_200"], expected.predictions["knn_200"])
    right = expected.predictions["knn_20"][:50] == test.labels[:50]
    assert outcome.scores["knn_20.accuracy"].value == pytest.approx(right.mean())


def test_a_test_class_unknown_to_the_training_split_is_never_predicted(blobs, classes):
    train, test = blobs(400, seed=2), blobs(100, seed=3)
    outcome = Knn()(train.rows(train.labels != 1), test, classes=classes, **SETTINGS)
    assert 1 not in outcome.predictions["knn_200"]


def test_more_neighbors_than_samples_are_refused(blobs, classes):
    with pytest.raises(SpecError, match=r"evaluation\.options\.knn\.ks: 200 neighbors .* has only 150 labeled samples"):
        Knn(ks=(20, 200))(blobs(150, seed=2), blobs(50, seed=3), classes=classes, **SETTINGS)


@pytest.mark.parametrize(("labeled", "ks"), [(200, (20, 200)), (199, (20,)), (20, (20,)), (19, (19,)), (1, (1,))])
def test_default_neighbors_are_reduced_to_the_labeled_samples(labeled, ks):
    assert Knn().fitted_to(EvaluatedData({"a": labeled}, {})).ks == ks


def test_scores_are_named_by_the_neighbors_taken(blobs, classes):
    train, test = blobs(15, seed=2), blobs(50, seed=3)
    fifteen = Knn(ks=(15,))(train, test, classes=classes, **SETTINGS).scores
    assert Knn()(train, test, classes=classes, **SETTINGS).scores == fifteen
    assert list(fifteen) == ["knn_15.accuracy"]


def test_data_without_labels_are_refused(blobs, classes):
    train, test = blobs(300, seed=2), blobs(100, seed=3)
    assert Knn.needs_labels
    with pytest.raises(DataError, match="training split has no labeled sample"):
        Knn()(replace(train, labels=None), test, classes=classes, **SETTINGS)
    with pytest.raises(DataError, match="test split has no labeled sample"):
        Knn()(train, replace(test, labels=None), classes=classes, **SETTINGS)
