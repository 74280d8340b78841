"""InfoNCE against its equation, against another library, and against what it must not depend on."""

import math

import pytest
import torch
import torch.nn.functional as F
from pair_losses import (
    EVERY_SOFTMAX_LOSS,
    assert_is,
    chosen,
    cosine,
    is_right_at_temperature_001,
    pairs_of,
    queries_and_keys,
    rows,
    two_views,
)
from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

from cl_core.errors import SpecError
from cl_core.losses import Relation, RowIds, relation_within
from cl_core.losses.info_nce import InfoNCE
from cl_core.registry import LOSSES


def by_the_equation(loss):
    """Eq. 1 of arXiv:2002.05709, one pair at a time; the sum and the number of terms."""

    def equation(anchors, candidates, relation):
        total, count = 0.0, 0
        for i, positives, negatives in pairs_of(relation):
            logit = {k: cosine(anchors[i], candidates[k]) / loss.temperature for k in positives + negatives}
            exponentials = {k: math.exp(logit[k]) for k in logit}
            for k in positives:
                total -= math.log(exponentials[k] / math.fsum(exponentials.values()))
                count += 1
        return total, count

    return equation


@pytest.mark.parametrize("keeps", EVERY_SOFTMAX_LOSS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("loss", [InfoNCE(tile=0), InfoNCE(temperature=1, tile=4)], ids=str)
def test_it_has_the_properties_of_every_loss(loss, keeps):
    keeps(loss, by_the_equation(loss))


def test_it_is_right_at_temperature_001():
    is_right_at_temperature_001(InfoNCE(temperature=0.01), by_the_equation(InfoNCE(temperature=0.01)))


@pytest.mark.parametrize("samples", [2, 4, 128])
def test_identical_embeddings_cost_log_of_the_number_of_other_rows(samples):
    embeddings = torch.ones(2 * samples, 3)
    loss = InfoNCE(temperature=0.5)(embeddings, embeddings, two_views(samples))
    assert loss.mean.item() == pytest.approx(math.log(2 * samples - 1), rel=1e-6)
    assert loss.count.item() == 2 * samples


def test_the_loss_of_opposite_samples_is_the_value_computed_by_hand():
    # Views coincide, the two samples are opposite: -log(e^(1/T) / (e^(1/T) + 2 e^(-1/T))) with T = 0.5.
    embeddings = torch.tensor([[1, 0], [-1, 0]], dtype=torch.float64).repeat(2, 1)
    loss = InfoNCE(temperature=0.5)(embeddings, embeddings, two_views(2))
    assert loss.mean.item() == pytest.approx(math.log1p(2 * math.exp(-4)), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0, 100.0])
def test_two_views_agree_with_the_equation(temperature):
    embeddings, relation = rows(10, 4), two_views(5)
    loss = InfoNCE(temperature=temperature)
    assert_is(loss(embeddings, embeddings, relation), by_the_equation(loss)(embeddings, embeddings, relation))


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("samples", [2, 17])
def test_two_views_agree_with_pytorch_metric_learning(samples, temperature):
    first, second = rows(samples, 6, seed=1).requires_grad_(), rows(samples, 6, seed=2).requires_grad_()
    theirs = SelfSupervisedLoss(NTXentLoss(temperature))(first, second)
    both = torch.cat([first, second])
    ours = InfoNCE(temperature=temperature)(both, both, two_views(samples)).mean
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-10)
    for mine, reference in zip(
        torch.autograd.grad(ours, [first, second]), torch.autograd.grad(theirs, [first, second]), strict=True
    ):
        torch.testing.assert_close(mine, reference, atol=1e-10, rtol=0)


@pytest.mark.parametrize("groups", [[0, 0, 0, 1, 1, 2], [0, 0, 0, 0, 0, 0]])
def test_each_of_several_positives_is_a_term_of_its_own(groups):
    loss = InfoNCE()(rows(6, 4), rows(6, 4), relation_within(torch.tensor(groups)))
    assert loss.count.item() == sum(groups.count(group) - 1 for group in groups)


def test_anchors_without_positives_add_nothing_and_are_not_counted():
    # Group 2 has one member: it is everybody's negative and nobody's positive.
    embeddings, relation = rows(5, 4), relation_within(torch.tensor([0, 0, 1, 1, 2]))
    loss = InfoNCE()(embeddings, embeddings, relation)
    assert loss.count.item() == 4
    first_four = Relation(chosen(relation.anchors, torch.arange(4)), relation.candidates)
    without = InfoNCE()(embeddings[:4], embeddings, first_four)
    assert loss.total.item() == pytest.approx(without.total.item(), rel=1e-12)


def test_no_positives_at_all_give_zero_and_a_gradient_of_zeros():
    embeddings = rows(4, 3).requires_grad_()
    loss = InfoNCE()(embeddings, embeddings, relation_within(torch.arange(4)))
    assert (loss.total.item(), loss.count.item(), loss.mean.item()) == (0.0, 0.0, 0.0)
    loss.mean.backward()
    assert torch.equal(embeddings.grad, torch.zeros(4, 3, dtype=torch.float64))


def test_candidates_without_the_anchors_cost_log_of_their_number_when_all_coincide():
    """Queries against keys and a queue: no sample is a candidate of itself."""
    relation = queries_and_keys(3, 11)
    loss = InfoNCE(temperature=0.07)(torch.ones(3, 5), torch.ones(11, 5), relation)
    assert loss.mean.item() == pytest.approx(math.log(11), rel=1e-6)
    assert loss.count.item() == 3
    anchors, candidates = rows(3, 5), rows(11, 5, seed=1)
    # MoCo's Eq. 1: cross-entropy with the key at position 0 of each query's logits.
    logits = F.normalize(anchors, dim=1) @ F.normalize(candidates, dim=1).T / 0.07
    expected = F.cross_entropy(logits, torch.arange(3), reduction="sum").item()
    assert_is(InfoNCE(temperature=0.07)(anchors, candidates, relation), (expected, 3))


@pytest.mark.parametrize(
    ("anchors", "candidates", "message"),
    [
        ((4,), (4, 3), r"wanted anchors \(A, D\) and candidates \(K, D\) with one D; got \(4,\) and \(4, 3\)"),
        ((4, 3), (4, 3, 1), r"got \(4, 3\) and \(4, 3, 1\)"),
        ((4, 3), (4, 2), r"got \(4, 3\) and \(4, 2\)"),
        ((3, 2), (4, 2), r"wanted one id for each of the 3 anchors; got samples \(4,\), views"),
        ((4, 2), (5, 2), r"wanted one id for each of the 5 candidates; got samples \(4,\), views"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_what_came(anchors, candidates, message):
    with pytest.raises(ValueError, match=message):
        InfoNCE()(torch.ones(anchors), torch.ones(candidates), two_views(2))


@pytest.mark.parametrize("field", ["samples", "views", "groups"])
def test_a_missing_id_is_refused_and_named(field):
    ids = {name: torch.zeros(4, dtype=torch.int64) for name in ("samples", "views", "groups")}
    whole, short = RowIds(**ids), RowIds(**{**ids, field: ids[field][:3]})
    with pytest.raises(ValueError, match=rf"wanted one id for each of the 4 anchors; got .*{field} \(3,\)"):
        InfoNCE()(torch.ones(4, 2), torch.ones(4, 2), Relation(short, whole))


@pytest.mark.parametrize("temperature", [0, -0.1, 100.1, math.nan])
def test_a_temperature_out_of_range_is_refused_with_its_path(temperature):
    with pytest.raises(SpecError, match=r"^training\.loss_options\.temperature: .*; got (0|-0\.1|100\.1|nan)$"):
        LOSSES.build("info_nce", {"temperature": temperature}, field="training.loss")
