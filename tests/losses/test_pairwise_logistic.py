"""The pairwise logistic loss against its equation, against OpenCLIP's, and by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import SigLipLoss
from pair_losses import (
    EVERY_NORMALizED_LOSS,
    assert_is,
    cases,
    cosine,
    learned,
    pairs_of,
    queries_and_keys,
    rows,
    two_views,
)

from cl_core.errors import SpecError
from cl_core.losses import relation_within
from cl_core.losses.pairwise_logistic import PairwiseLogistic
from cl_core.registry import LOSSES


def by_the_equation(loss):
    """Sec. 3.2 of arXiv:2303.15343 at the loss's starting values, one pair at a time."""

    def equation(anchors, candidates, relation):
        total = 0.0
        for i, positives, negatives in pairs_of(relation):
            for k in positives + negatives:
                logit = loss.start_scale * cosine(anchors[i], candidates[k]) + loss.start_bias
                total += math.log1p(math.exp(-logit if k in positives else logit))
        return total, len(anchors)

    return equation


@pytest.mark.parametrize("loss", [PairwiseLogistic(), PairwiseLogistic(start_scale=3, start_bias=0.5)], ids=repr)
@pytest.mark.parametrize("keeps", EVERY_NORMALizED_LOSS, ids=lambda check: check.__name__)
def test_wherever_it_starts_it(loss, keeps):
    keeps(loss, by_the_equation(loss))


def test_it_learns_the_papers_scale_and_bias():
    assert PairwiseLogistic().learned_start() == {"log_scale": pytest.approx(2.302585, abs=1e-6), "bias": -10.0}
    assert PairwiseLogistic(start_scale=1, start_bias=2).learned_start() == {"log_scale": 0.0, "bias": 2.0}


@pytest.mark.parametrize("pairs", [2, 64])
def test_identical_embeddings_cost_n_log_2_at_the_start(pairs):
    """Scale 10 and bias -10 make a logit of 0 of a cosine of 1."""
    embeddings, loss = torch.ones(pairs, 3, dtype=torch.float64), PairwiseLogistic()
    result = loss(embeddings, embeddings, queries_and_keys(pairs, pairs), learned(loss))
    assert_is(result, (pairs * pairs * math.log(2), pairs))


def test_unrelated_embeddings_cost_10_at_the_start():
    """Orthogonal: softplus(10) = 10.00005 for the positive, softplus(-10) = 0.00005 for each of 63 negatives."""
    basis = torch.eye(128, dtype=torch.float64)
    loss = PairwiseLogistic()
    result = loss(basis[:64], basis[64:], queries_and_keys(64, 64), learned(loss))
    assert result.mean.item() == pytest.approx(10 + 64 * math.log1p(math.exp(-10)), rel=1e-9)


@pytest.mark.parametrize(("scale", "bias"), [(10, -10), (1, 0), (117, -12.9)])
@pytest.mark.parametrize("pairs", [2, 17])
def test_two_modalities_agree_with_openclip(pairs, scale, bias):
    images, texts = rows(pairs, 6).requires_grad_(), rows(pairs, 6, seed=1).requires_grad_()
    log_scale = torch.tensor(math.log(scale), dtype=torch.float64, requires_grad=True)
    learned_bias = torch.tensor(bias, dtype=torch.float64, requires_grad=True)
    relation = queries_and_keys(pairs, pairs)
    ours = PairwiseLogistic()(images, texts, relation, {"log_scale": log_scale, "bias": learned_bias}).mean
    unit = (F.normalize(images, dim=1), F.normalize(texts, dim=1))
    theirs = SigLipLoss()(*unit, log_scale.exp(), learned_bias)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-10)
    of = [images, texts, log_scale, learned_bias]
    for mine, reference in zip(torch.autograd.grad(ours, of), torch.autograd.grad(theirs, of), strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-10, rtol=0)


def test_an_anchor_without_positives_and_one_without_negatives_are_counted():
    embeddings, loss = rows(4, 3), PairwiseLogistic()
    for groups in (torch.arange(4), torch.zeros(4, dtype=torch.int64)):
        relation = relation_within(groups)
        result = loss(embeddings, embeddings, relation, learned(loss))
        assert_is(result, by_the_equation(loss)(embeddings, embeddings, relation))
        assert result.count.item() == 4 and result.total.item() > 0


def test_a_worker_without_rows_has_gradients_of_zero_for_scale_and_bias():
    """None in their place would leave the other workers waiting for this one's gradients."""
    loss = PairwiseLogistic()
    values = {name: value.requires_grad_() for name, value in learned(loss).items()}
    loss(*cases()["a worker without rows"], values).total.backward()
    assert [value.grad.item() for value in values.values()] == [0.0, 0.0]


@pytest.mark.parametrize("given", [{}, {"log_scale": 1.0}, {"log_scale": 1.0, "bias": 0.0, "temperature": 1.0}])
def test_learned_parameters_must_be_passed(given):
    values = {name: torch.tensor(value) for name, value in given.items()}
    with pytest.raises(ValueError, match=r"PairwiseLogistic learns \['bias', 'log_scale'\]; got \["):
        PairwiseLogistic()(torch.ones(4, 2), torch.ones(4, 2), two_views(2), values)


@pytest.mark.parametrize("sign", [1, -1])
def test_float32_is_right_at_temperature_001(sign):
    first = rows(6, 8)
    embeddings = torch.cat([sign * first, first + 0.1 * rows(6, 8, seed=1)]).float().requires_grad_()
    loss = PairwiseLogistic(start_scale=100, start_bias=-10)
    values = {name: value.float().requires_grad_() for name, value in learned(loss).items()}
    result = loss(embeddings, embeddings, two_views(6), values)
    result.mean.backward()
    assert_is(result, by_the_equation(loss)(embeddings.double(), embeddings.double(), two_views(6)), tolerance=1e-5)
    assert all(torch.isfinite(of.grad).all() for of in (embeddings, *values.values()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_scale": 0}, r"^training\.loss_options\.start_scale: .* greater than 0; got 0$"),
        ({"start_bias": math.inf}, r"^training\.loss_options\.start_bias: .*; got inf$"),
    ],
)
def test_options_out_of_range_are_refused_with_their_path(options, message):
    with pytest.raises(SpecError, match=message):
        LOSSES.build("pairwise_logistic", options, field="training.loss")
