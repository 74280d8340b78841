"""The logistic loss against its equation, against torch's binary cross-entropy, and by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from pair_losses import (
    EVERY_LOSS,
    EVERY_NORMALizED_LOSS,
    assert_is,
    cosine,
    dot,
    pairs_of,
    queries_and_keys,
    rows,
    two_views,
)

from cl_core.errors import SpecError
from cl_core.losses import relation_within
from cl_core.losses.logistic import Logistic
from cl_core.registry import LOSSES


def by_the_equation(loss):
    """The NCE objective of arXiv:2206.07568, one pair at a time."""

    def equation(anchors, candidates, relation):
        similarity = cosine if loss.similarity == "cosine" else dot
        total, count = 0.0, 0

        def probability(i, k):
            return 1 / (1 + math.exp(-loss.scale * similarity(anchors[i], candidates[k]) - loss.bias))

        for i, positives, negatives in pairs_of(relation):
            same = [-math.log(probability(i, k)) for k in positives]
            different = [-math.log1p(-probability(i, k)) for k in negatives]
            if not loss.balanced:
                total, count = total + sum(same) + sum(different), count + len(same) + len(different)
            elif same and different:
                total += (sum(same) / len(same) + sum(different) / len(different)) / 2
                count += 1
        return total, count

    return equation


CONTRASTIVE_RL = {"similarity": "dot", "scale": 1, "bias": 0}
VARIANTS = [Logistic(), Logistic(bias=-5, balanced=True), Logistic(**CONTRASTIVE_RL)]


@pytest.mark.parametrize("loss", VARIANTS, ids=repr)
@pytest.mark.parametrize("keeps", EVERY_LOSS, ids=lambda check: check.__name__)
def test_whatever_the_options_it(loss, keeps):
    keeps(loss, by_the_equation(loss))


@pytest.mark.parametrize("keeps", EVERY_NORMALizED_LOSS[len(EVERY_LOSS) :], ids=lambda check: check.__name__)
def test_the_form_on_cosines_has_the_properties_of_every_loss(keeps):
    keeps(Logistic(), by_the_equation(Logistic()))


@pytest.mark.parametrize("balanced", [True, False])
def test_logits_of_zero_cost_log_2(balanced):
    embeddings = torch.zeros(8, 3)
    loss = Logistic(**CONTRASTIVE_RL, balanced=balanced)(embeddings, embeddings, two_views(4))
    assert loss.mean.item() == pytest.approx(math.log(2), rel=1e-6)


def test_identical_embeddings_cost_a_right_and_a_wrong_answer_in_their_shares():
    """All cosines are 1: a logit of 5, right for one positive and wrong for six negatives of each of eight rows."""
    embeddings, right, wrong = torch.ones(8, 3), math.log1p(math.exp(-5)), math.log1p(math.exp(5))
    plain = Logistic(scale=10, bias=-5)(embeddings, embeddings, two_views(4))
    assert_is(plain, (8 * (right + 6 * wrong), 56), tolerance=1e-6)
    even = Logistic(scale=10, bias=-5, balanced=True)(embeddings, embeddings, two_views(4))
    assert_is(even, (8 * (right + wrong) / 2, 8), tolerance=1e-6)


def test_the_best_constant_logit_of_unbalanced_pairs_costs_the_entropy_of_their_share_of_positives():
    """Of 256 pairs of each anchor one is positive: 0.0256 nats are paid by an encoder that has learned nothing."""
    embeddings = torch.zeros(256, 2, dtype=torch.float64)
    share = 1 / 256
    loss = Logistic(similarity="dot", scale=1, bias=math.log(share / (1 - share)))
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert entropy == pytest.approx(0.0256, abs=5e-5)
    relation = queries_and_keys(256, 256)
    assert loss(embeddings, embeddings, relation).mean.item() == pytest.approx(entropy, rel=1e-9)


@pytest.mark.parametrize(("similarity", "scale", "bias"), [("dot", 1, 0), ("dot", 0.3, 2), ("cosine", 10, -5)])
def test_contrastive_rl_agrees_with_torchs_binary_cross_entropy(similarity, scale, bias):
    """Its code: logits of N states against N goals, the identity as labels, the mean over all N^2."""
    states, goals = rows(9, 6).requires_grad_(), rows(9, 6, seed=1).requires_grad_()
    loss = Logistic(similarity=similarity, scale=scale, bias=bias)
    ours = loss(states, goals, queries_and_keys(9, 9)).mean
    pair = (states, goals) if similarity == "dot" else (F.normalize(states), F.normalize(goals))
    logits = scale * torch.einsum("ik,jk->ij", *pair) + bias
    theirs = F.binary_cross_entropy_with_logits(logits, torch.eye(9, dtype=torch.float64))
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-12)
    for mine, reference in zip(
        torch.autograd.grad(ours, [states, goals]), torch.autograd.grad(theirs, [states, goals]), strict=True
    ):
        torch.testing.assert_close(mine, reference, atol=1e-12, rtol=0)


def test_balance_agrees_with_torchs_weighted_binary_cross_entropy():
    """Each of 12 rows has 3 positives and 8 negatives: their weights are 1 / 6 and 1 / 16."""
    embeddings, relation = rows(12, 6), relation_within(torch.arange(3).repeat(4))
    ours = Logistic(bias=-5, balanced=True)(embeddings, embeddings, relation)
    unit = F.normalize(embeddings)
    positive = relation.positives.double()
    weights = positive / 6 + (1 - relation.same_group.double()) / 16
    theirs = F.binary_cross_entropy_with_logits(10 * unit @ unit.T - 5, positive, weight=weights, reduction="sum")
    assert_is(ours, (theirs.item(), 12))


def test_balanced_anchors_without_positives_or_without_negatives_are_left_out():
    embeddings = rows(6, 4)
    loss = Logistic(balanced=True)
    assert loss(embeddings, embeddings, relation_within(torch.tensor([0, 0, 1, 1, 2, 3]))).count.item() == 4
    for groups in (torch.zeros(6, dtype=torch.int64), torch.arange(6)):
        assert_is(loss(embeddings, embeddings, relation_within(groups)), (0, 0))
        assert Logistic()(embeddings, embeddings, relation_within(groups)).count.item() == 30


@pytest.mark.parametrize("scale", [100, 1000])
def test_float32_is_right_at_temperatures_of_001_and_less(scale):
    """Logits of 1000: the exponential overflows, the probability is 0 or 1, the loss and its gradient are neither."""
    first = rows(6, 8)
    embeddings = torch.cat([-first, first + 0.1 * rows(6, 8, seed=1)]).float().requires_grad_()
    loss = Logistic(scale=scale, bias=0)(embeddings, embeddings, two_views(6))
    loss.mean.backward()
    total = 0.0
    for i, positives, negatives in pairs_of(two_views(6)):
        for k in positives + negatives:
            wrong = scale * cosine(embeddings[i], embeddings[k]) * (-1 if k in positives else 1)
            total += max(0, wrong) + math.log1p(math.exp(-abs(wrong)))
    assert loss.total.item() == pytest.approx(total, rel=1e-5)
    assert torch.isfinite(embeddings.grad).all() and embeddings.grad.abs().max() > 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0}, r"^training\.loss_options\.scale: .* greater than 0; got 0$"),
        ({"bias": math.nan}, r"^training\.loss_options\.bias: .*; got nan$"),
        ({"similarity": "l2"}, r"^training\.loss_options\.similarity: .*'cosine' or 'dot'; got 'l2'$"),
    ],
)
def test_options_out_of_range_are_refused_with_their_path(options, message):
    with pytest.raises(SpecError, match=message):
        LOSSES.build("logistic", options, field="training.loss")
