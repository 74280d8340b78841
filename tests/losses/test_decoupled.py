"""The decoupled contrastive loss against its equation and against lightly's."""

import math

import pytest
import torch
from lightly.loss import DCLLoss
from pair_losses import (
    EVERY_SOFTMAX_LOSS,
    cases,
    cosine,
    is_right_at_temperature_001,
    log_sum_exp,
    pairs_of,
    queries_and_keys,
    rows,
    two_views,
)

from cl_core.losses import relation_within
from cl_core.losses.decoupled import Decoupled


def by_the_equation(loss):
    """Eq. 6 of arXiv:2110.06848, one pair at a time."""

    def equation(anchors, candidates, relation):
        total, count = 0.0, 0
        for i, positives, negatives in pairs_of(relation):
            logit = {k: cosine(anchors[i], candidates[k]) / loss.temperature for k in positives + negatives}
            if negatives:
                spread = log_sum_exp([logit[k] for k in negatives])
                total += sum(spread - logit[k] for k in positives)
                count += len(positives)
        return total, count

    return equation


@pytest.mark.parametrize("keeps", EVERY_SOFTMAX_LOSS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("loss", [Decoupled(temperature=0.07, tile=0), Decoupled(temperature=1, tile=4)], ids=str)
def test_it_has_the_properties_of_every_loss(loss, keeps):
    keeps(loss, by_the_equation(loss))


def test_it_is_right_at_temperature_001():
    is_right_at_temperature_001(Decoupled(temperature=0.01), by_the_equation(Decoupled(temperature=0.01)))


@pytest.mark.parametrize("samples", [2, 4, 128])
def test_identical_embeddings_cost_log_of_the_number_of_negatives(samples):
    embeddings = torch.ones(2 * samples, 3)
    loss = Decoupled(temperature=0.5)(embeddings, embeddings, two_views(samples))
    assert loss.mean.item() == pytest.approx(math.log(2 * samples - 2), rel=1e-6)
    assert loss.count.item() == 2 * samples


def test_identical_queries_and_keys_cost_log_of_the_other_keys():
    loss = Decoupled(temperature=0.07)(torch.ones(3, 5), torch.ones(11, 5), queries_and_keys(3, 11))
    assert loss.mean.item() == pytest.approx(math.log(10), rel=1e-6)


def test_it_is_below_zero_where_the_positive_is_closer_than_all_negatives_together():
    # Views coincide, the two samples are opposite: -1 / T + log(2 exp(-1 / T)) with T = 0.5.
    embeddings = torch.tensor([[1, 0], [-1, 0]], dtype=torch.float64).repeat(2, 1)
    loss = Decoupled(temperature=0.5)(embeddings, embeddings, two_views(2))
    assert loss.mean.item() == pytest.approx(math.log(2) - 4, rel=1e-12)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("samples", [2, 17])
def test_two_views_agree_with_lightly(samples, temperature):
    first, second = rows(samples, 6, seed=1).requires_grad_(), rows(samples, 6, seed=2).requires_grad_()
    theirs = DCLLoss(temperature)(first, second)
    both = torch.cat([first, second])
    ours = Decoupled(temperature=temperature)(both, both, two_views(samples)).mean
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-10)
    for mine, reference in zip(
        torch.autograd.grad(ours, [first, second]), torch.autograd.grad(theirs, [first, second]), strict=True
    ):
        torch.testing.assert_close(mine, reference, atol=1e-10, rtol=0)


def test_an_anchor_without_negatives_adds_nothing_and_is_not_counted():
    """Alone, its positive would be pulled closer for ever: log of an empty sum is minus infinity."""
    embeddings, candidates, relation = cases()["one class"]
    embeddings = embeddings.clone().requires_grad_()
    loss = Decoupled()(embeddings, embeddings, relation)
    assert (loss.total.item(), loss.count.item(), loss.mean.item()) == (0.0, 0.0, 0.0)
    loss.mean.backward()
    assert torch.equal(embeddings.grad, torch.zeros_like(candidates))


@pytest.mark.parametrize("groups", [[0, 0, 0, 1, 1, 2], [0, 0, 0, 0, 0, 1]])
def test_each_of_several_positives_is_a_term_of_its_own(groups):
    loss = Decoupled()(rows(6, 4), rows(6, 4), relation_within(torch.tensor(groups)))
    assert loss.count.item() == sum(groups.count(group) - 1 for group in groups)
