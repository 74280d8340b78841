"""The debiased contrastive loss against its equation, its authors' formulation, and InfoNCE."""

import math

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from pair_losses import (
    EVERY_SOFTMAX_LOSS,
    HAS_THE_GRADIENT_OF_ITS_VALUE,
    agrees_with_its_equation,
    cases,
    cosine,
    is_right_at_temperature_001,
    pairs_of,
    queries_and_keys,
    rows,
    two_views,
)

from cl_core.errors import SpecError
from cl_core.losses import relation_within
from cl_core.losses.debiased import Debiased
from cl_core.losses.info_nce import InfoNCE
from cl_core.registry import LOSSES


def by_the_equation(loss):
    """Eq. 7 and 8 of arXiv:2007.00224, one pair at a time."""
    temperature, tau = loss.temperature, loss.tau_plus

    def equation(anchors, candidates, relation):
        total, count = 0.0, 0
        for i, positives, negatives in pairs_of(relation):
            power = {k: math.exp(cosine(anchors[i], candidates[k]) / temperature) for k in positives + negatives}
            n, of_positives = len(negatives), [power[k] for k in positives]
            if not positives:
                continue
            mean_positive = math.fsum(of_positives) / len(positives)
            true_negatives = (math.fsum(power[k] for k in negatives) - tau * n * mean_positive) / (1 - tau)
            true_negatives = max(true_negatives, n * math.exp(-1 / temperature))
            total -= sum(math.log(one / (math.fsum(of_positives) + true_negatives)) for one in of_positives)
            count += len(positives)
        return total, count

    return equation


def as_published(first, second, *, temperature, tau_plus):
    """As the authors compute it for two views: all of exp(s / T), and neither logarithms nor other positives."""
    both = F.normalize(torch.cat([first, second]), dim=1)
    samples = len(first)
    other_sample = ~torch.eye(samples, dtype=torch.bool).repeat(2, 2)
    negatives = (both @ both.T / temperature).exp()[other_sample].view(2 * samples, -1).sum(1)
    positive = ((both[:samples] * both[samples:]).sum(1) / temperature).exp().repeat(2)
    n = 2 * samples - 2
    true_negatives = (negatives - tau_plus * n * positive) / (1 - tau_plus)
    true_negatives = true_negatives.clamp(min=n * math.exp(-1 / temperature))
    return -(positive / (positive + true_negatives)).log().mean()


@pytest.mark.parametrize("keeps", EVERY_SOFTMAX_LOSS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("loss", [Debiased(tile=0), Debiased(temperature=1, tau_plus=0.02, tile=4)], ids=str)
def test_it_has_the_properties_of_every_loss(loss, keeps):
    keeps(loss, by_the_equation(loss))


@pytest.mark.parametrize(
    "keeps", [agrees_with_its_equation, *HAS_THE_GRADIENT_OF_ITS_VALUE], ids=lambda check: check.__name__
)
@pytest.mark.parametrize("tau_plus", [0.4, 0.9])
def test_it_follows_the_equation_where_much_is_taken_out(tau_plus, keeps):
    """Some anchors are then at the bound and some above it."""
    loss = Debiased(temperature=0.5, tau_plus=tau_plus)
    keeps(loss, by_the_equation(loss))


@pytest.mark.parametrize("tau_plus", [0, 1e-6, 0.1, 0.99])
def test_it_is_right_at_temperature_001(tau_plus):
    loss = Debiased(temperature=0.01, tau_plus=tau_plus)
    is_right_at_temperature_001(loss, by_the_equation(loss))


@pytest.mark.parametrize("tau_plus", [0, 0.1, 0.5])
@pytest.mark.parametrize("temperature", [0.01, 0.5])
def test_identical_embeddings_cost_log_of_the_number_of_other_rows_whatever_tau(tau_plus, temperature):
    loss = Debiased(temperature=temperature, tau_plus=tau_plus)
    embeddings = torch.ones(16, 3)
    assert loss(embeddings, embeddings, two_views(8)).mean.item() == pytest.approx(math.log(15), rel=1e-5)
    several = loss(embeddings, embeddings, relation_within(torch.arange(16) % 4))
    assert several.mean.item() == pytest.approx(math.log(15), rel=1e-5)
    queries, keys = torch.ones(3, 5), torch.ones(11, 5)
    assert loss(queries, keys, queries_and_keys(3, 11)).mean.item() == pytest.approx(math.log(11), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.01, 0.07, 0.5])
@pytest.mark.parametrize("case", cases())
def test_at_tau_0_it_is_info_nce_to_the_last_bit(case, temperature):
    anchors, candidates, relation = cases()[case]
    results = []
    for loss in (Debiased(temperature=temperature, tau_plus=0), InfoNCE(temperature=temperature)):
        own, among = anchors.float().requires_grad_(), candidates.float().requires_grad_()
        result = loss(own, among, relation)
        results.append([result.total, result.count, *torch.autograd.grad(result.total, [own, among])])
    for ours, reference in zip(*results, strict=True):
        assert ours.equal(reference)


def test_at_tau_0_two_views_agree_with_lightly():
    first, second = rows(17, 6, seed=1), rows(17, 6, seed=2)
    both = torch.cat([first, second])
    ours = Debiased(temperature=0.1, tau_plus=0)(both, both, two_views(17)).mean
    assert ours.item() == pytest.approx(NTXentLoss(0.1)(first, second).item(), abs=1e-10)


@pytest.mark.parametrize(("temperature", "tau_plus"), [(0.5, 0.1), (0.2, 0.05), (2.0, 0.3), (0.5, 0.8)])
def test_two_views_agree_with_the_authors_formulation(temperature, tau_plus):
    first, second = rows(17, 6, seed=1).requires_grad_(), rows(17, 6, seed=2).requires_grad_()
    theirs = as_published(first, second, temperature=temperature, tau_plus=tau_plus)
    both = torch.cat([first, second])
    ours = Debiased(temperature=temperature, tau_plus=tau_plus)(both, both, two_views(17)).mean
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-10)
    for mine, reference in zip(
        torch.autograd.grad(ours, [first, second]), torch.autograd.grad(theirs, [first, second]), strict=True
    ):
        torch.testing.assert_close(mine, reference, atol=1e-10, rtol=0)


def test_the_loss_of_orthogonal_samples_is_that_of_the_equation():
    # Views coincide, T = 0.5: P = e^2, R = 2, n = 2, and (2 - 0.1 * 2 e^2) / 0.9 = 0.580 is above 2 e^-2 = 0.271.
    embeddings = torch.eye(2, dtype=torch.float64).repeat(2, 1)
    loss = Debiased(temperature=0.5, tau_plus=0.1)(embeddings, embeddings, two_views(2))
    assert loss.mean.item() == pytest.approx(math.log1p((2 - 0.2 * math.exp(2)) / 0.9 * math.exp(-2)), rel=1e-12)


def test_a_correction_larger_than_the_sum_of_negatives_leaves_its_lower_bound():
    """Two samples on opposite sides: 2 e^(-1/T) is all that two negatives can come down to, and what they are."""
    embeddings = torch.tensor([[1, 0], [-1, 0]], dtype=torch.float64).repeat(2, 1)
    loss = Debiased(temperature=0.5, tau_plus=0.5)(embeddings, embeddings, two_views(2))
    assert loss.mean.item() == pytest.approx(math.log1p(2 * math.exp(-4)), rel=1e-12)


def test_negatives_at_the_bound_are_not_pushed():
    """With tau_plus 0.9 nearly everything is taken out: the loss then depends on the positives alone."""
    first, second = rows(6, 8), rows(6, 8, seed=1)
    both = torch.cat([first, first + 0.01 * second]).requires_grad_()
    pushed = 0
    for i in range(12):
        anchor, relation = both[i : i + 1].detach(), two_views(6)
        of = type(relation.anchors)(*(ids[i : i + 1] for ids in vars(relation.anchors).values()))
        loss = Debiased(temperature=0.5, tau_plus=0.9)(anchor, both, type(relation)(of, relation.candidates))
        [gradient] = torch.autograd.grad(loss.total, both)
        pushed += int((gradient.abs().sum(1) > 0).sum())
    assert pushed == 12  # Each anchor moves its positive, and nothing else.


@pytest.mark.parametrize("tau_plus", [-0.1, 1, math.nan])
def test_a_probability_out_of_range_is_refused_with_its_path(tau_plus):
    with pytest.raises(SpecError, match=r"^training\.loss_options\.tau_plus: "):
        LOSSES.build("debiased", {"tau_plus": tau_plus}, field="training.loss")
