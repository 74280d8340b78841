"""Sums over positives and negatives, in tiles of any size, against one pair at a time."""

import math

import pytest
import torch
from pair_losses import cases, chosen, dot, log_sum_exp, pairs_of, queries_and_keys, rows, two_views

from cl_core.losses import Relation, relation_within
from cl_core.losses._pair_sums import pair_sums
from cl_core.losses.info_nce import InfoNCE

TILES = [0, 1, 4, 12]


def one_pair_at_a_time(anchors, candidates, relation, scale):
    found = []
    for i, positives, negatives in pairs_of(relation):
        of_positives, of_negatives = (
            [scale * dot(anchors[i], candidates[k]) for k in side] for side in (positives, negatives)
        )
        lses = log_sum_exp(of_positives), log_sum_exp(of_negatives)
        found.append([math.fsum(of_positives), *lses, len(positives), len(negatives)])
    return torch.tensor(found, dtype=torch.float64).reshape(-1, 5)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("case", cases())
@pytest.mark.parametrize("scale", [0.3, 50.0])
def test_all_sums_are_those_of_one_pair_at_a_time(case, tile, scale):
    anchors, candidates, relation = cases()[case]
    sums = torch.stack(pair_sums(anchors, candidates, relation, scale=scale, tile=tile), dim=1)
    expected = one_pair_at_a_time(anchors, candidates, relation, scale)
    torch.testing.assert_close(sums, expected, atol=1e-12, rtol=1e-12)
    apart = torch.stack(pair_sums(anchors, candidates.clone(), relation, scale=scale, tile=tile), dim=1)
    torch.testing.assert_close(apart, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.slow_unit(reason="finite differences of every pair of ten rows in small tiles")
@pytest.mark.parametrize("tile", [0, 5])
@pytest.mark.parametrize("case", cases())
def test_every_sum_has_the_gradient_of_its_value(case, tile):
    anchors, candidates, relation = cases()[case]

    def sums(own, among):
        found = pair_sums(own, among, relation, scale=0.7, tile=tile)
        return tuple(values[values.isfinite()] for values in found[:3])

    own, among = anchors.clone().requires_grad_(), candidates.clone().requires_grad_()
    assert torch.autograd.gradcheck(sums, (own, among))
    if anchors is candidates:
        assert torch.autograd.gradcheck(lambda both: sums(both, both), (own,))


@pytest.mark.parametrize("tile", TILES)
def test_no_pairs_have_a_sum_of_zero_a_log_sum_of_minus_infinity_and_no_gradient(tile):
    """Also where two of them are added up, which asks for the gradient of minus infinity beside minus infinity."""
    anchors = rows(3, 4).requires_grad_()
    relation = queries_and_keys(3, 0)
    sums = pair_sums(anchors, anchors[:0], relation, scale=1, tile=tile)
    assert [values.tolist() for values in sums] == [[0] * 3, [-math.inf] * 3, [-math.inf] * 3, [0] * 3, [0] * 3]
    [gradient] = torch.autograd.grad(sums.lse.masked_fill(sums.positives == 0, 0).sum(), anchors)
    assert gradient.equal(torch.zeros_like(anchors))
    alone = rows(1, 4).requires_grad_()
    sums = pair_sums(alone, alone, relation_within(torch.zeros(1, dtype=torch.int64)), scale=1, tile=tile)
    assert sums.lse.item() == -math.inf
    [gradient] = torch.autograd.grad(sums.lse.masked_fill(sums.positives == 0, 0).sum(), alone)
    assert gradient.equal(torch.zeros_like(alone))


@pytest.mark.parametrize("tile", TILES)
def test_a_sample_that_occurs_twice_is_no_candidate_of_itself(tile):
    """The same view of the same sample is the row itself, at any position in the batch."""
    ids = two_views(4).anchors
    double = chosen(ids, torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 0, 4]))
    sums = pair_sums(rows(10, 3), rows(10, 3), Relation(double, double), scale=1, tile=tile)
    assert sums.positives.tolist() == [2, 1, 1, 1, 2, 1, 1, 1, 2, 2]
    assert sums.negatives.tolist() == [6, 8, 8, 8, 6, 8, 8, 8, 6, 6]


@pytest.mark.parametrize("tile", TILES)
def test_logits_of_ten_thousand_neither_overflow_nor_vanish_in_float32(tile):
    # Rows 100 e1 and 100 e2 in turn: logits are 10,000 within a class and 0 between them.
    embeddings = (100 * torch.eye(2)).repeat(5, 1).requires_grad_()
    sums = pair_sums(embeddings, embeddings, relation_within(torch.arange(10) % 2), scale=1, tile=tile)
    assert sums.positive_lse.tolist() == pytest.approx([10_000 + math.log(4)] * 10, rel=1e-6)
    assert sums.negative_lse.tolist() == pytest.approx([math.log(5)] * 10, rel=1e-6)
    assert sums.lse.tolist() == pytest.approx([10_000 + math.log(4)] * 10, rel=1e-6)
    sums.negative_lse.sum().backward()
    # Each row is among the negatives of 5, at a fifth each, and has 5 of its own: in all twice the other axis.
    torch.testing.assert_close(embeddings.grad, 200 * torch.eye(2).flip(0).repeat(5, 1), atol=1e-3, rtol=0)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_is_not_hidden(tile, wrong):
    embeddings = rows(10, 3)
    embeddings[4, 1] = wrong
    assert not InfoNCE(tile=tile)(embeddings, embeddings, two_views(5)).total.isfinite()


@pytest.mark.parametrize("tile", TILES)
def test_candidates_without_gradient_get_none(tile):
    """Keys and a queue are constants to the queries."""
    queries, keys = rows(3, 4).requires_grad_(), rows(11, 4, seed=1)
    sums = pair_sums(queries, keys, queries_and_keys(3, 11), scale=1, tile=tile)
    sums.negative_lse.sum().backward()
    expected = torch.stack([torch.softmax(keys[torch.arange(11) != i] @ queries[i], 0) for i in range(3)])
    others = torch.stack([keys[torch.arange(11) != i] for i in range(3)])
    torch.testing.assert_close(queries.grad, (expected[:, None] @ others)[:, 0], atol=1e-12, rtol=0)
    assert keys.grad is None


def test_a_second_derivative_is_refused_instead_of_wrong():
    embeddings = rows(6, 3).requires_grad_()
    sums = pair_sums(embeddings, embeddings, two_views(3), scale=1, tile=0)
    [gradient] = torch.autograd.grad(sums.negative_lse.square().sum(), embeddings, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_a_backward_can_be_repeated():
    embeddings = rows(6, 3).requires_grad_()
    for tile in TILES:
        total = pair_sums(embeddings, embeddings, two_views(3), scale=1, tile=tile).lse.sum()
        first, second = (torch.autograd.grad(total, embeddings, retain_graph=True)[0] for _ in range(2))
        assert first.equal(second)
