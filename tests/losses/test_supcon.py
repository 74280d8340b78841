"""The supervised contrastive losses against their equations, pytorch-metric-learning's, and InfoNCE."""

import math

import pytest
import torch
import torch.nn.functional as F
from pair_losses import (
    EVERY_SOFTMAX_LOSS,
    cosine,
    is_right_at_temperature_001,
    log_sum_exp,
    pairs_of,
    queries_and_keys,
    rows,
    two_views,
)
from pytorch_metric_learning.losses import SupConLoss

from cl_core.errors import SpecError
from cl_core.losses import relation_within
from cl_core.losses.info_nce import InfoNCE
from cl_core.losses.supcon import SupCon
from cl_core.registry import LOSSES

CLASSES = torch.tensor([0, 1, 0, 2, 1, 0, 3, 2, 0, 1, 2, 1])  # Class 3 has one row.


def by_the_equation(loss):
    """Eq. 2 (out) and 3 (in) of arXiv:2004.11362, one pair at a time."""

    def equation(anchors, candidates, relation):
        total, count = 0.0, 0
        for i, positives, negatives in pairs_of(relation):
            if not positives:
                continue
            logit = {k: cosine(anchors[i], candidates[k]) / loss.temperature for k in positives + negatives}
            log_share = [logit[k] - log_sum_exp(list(logit.values())) for k in positives]
            if loss.variant == "out":
                total -= sum(log_share) / len(positives)
            else:
                total -= log_sum_exp(log_share) - math.log(len(positives))
            count += 1
        return total, count

    return equation


@pytest.mark.parametrize("keeps", EVERY_SOFTMAX_LOSS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("loss", [SupCon(tile=0), SupCon(variant="in", temperature=0.5, tile=4)], ids=str)
def test_it_has_the_properties_of_every_loss(loss, keeps):
    keeps(loss, by_the_equation(loss))


@pytest.mark.parametrize("variant", ["out", "in"])
def test_it_is_right_at_temperature_001(variant):
    loss = SupCon(temperature=0.01, variant=variant)
    is_right_at_temperature_001(loss, by_the_equation(loss))


@pytest.mark.parametrize("variant", ["out", "in"])
def test_identical_embeddings_cost_log_of_the_number_of_other_rows(variant):
    loss = SupCon(variant=variant)
    embeddings = torch.ones(12, 3)
    assert loss(embeddings, embeddings, relation_within(CLASSES)).mean.item() == pytest.approx(math.log(11), rel=1e-6)
    of_queries = loss(torch.ones(3, 5), torch.ones(11, 5), queries_and_keys(3, 11))
    assert of_queries.mean.item() == pytest.approx(math.log(11), rel=1e-6)


def test_outside_the_logarithm_it_agrees_with_pytorch_metric_learning():
    embeddings = rows(12, 6).requires_grad_()
    theirs = SupConLoss(0.1)(embeddings, CLASSES)
    ours = SupCon(temperature=0.1)(embeddings, embeddings, relation_within(CLASSES)).mean
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-10)
    mine, reference = (torch.autograd.grad(loss, embeddings)[0] for loss in (ours, theirs))
    torch.testing.assert_close(mine, reference, atol=1e-10, rtol=0)


def test_inside_the_logarithm_it_is_the_cross_entropy_of_finding_any_positive_less_their_chance():
    """-log(sum over positives of the softmax), as some call the supervised loss, plus log of how many they are."""
    embeddings = rows(12, 6)
    unit = F.normalize(embeddings, dim=1)
    logits = (unit @ unit.T / 0.1).fill_diagonal_(-torch.inf)
    same = (CLASSES[:, None] == CLASSES).fill_diagonal_(False)
    has_positive = same.any(1)
    found = (logits.softmax(1) * same).sum(1)[has_positive]
    expected = (same.sum(1)[has_positive].double().log() - found.log()).sum().item()
    loss = SupCon(temperature=0.1, variant="in")(embeddings, embeddings, relation_within(CLASSES))
    assert loss.total.item() == pytest.approx(expected, rel=1e-12) and loss.count.item() == 11


@pytest.mark.parametrize("variant", ["out", "in"])
def test_with_one_positive_each_it_is_info_nce(variant):
    embeddings = rows(14, 5)
    ours = SupCon(temperature=0.2, variant=variant)(embeddings, embeddings, two_views(7))
    reference = InfoNCE(temperature=0.2)(embeddings, embeddings, two_views(7))
    assert ours.total.item() == pytest.approx(reference.total.item(), rel=1e-12)
    assert ours.count.equal(reference.count)


def test_inside_the_logarithm_one_close_positive_suffices():
    """Row 0 coincides with row 1 and is orthogonal to its other positive: T log 2 of the gap of 1 / T is forgiven."""
    embeddings = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]], dtype=torch.float64)
    relation = relation_within(torch.tensor([0, 0, 0, 1, 1]))
    of = type(relation.anchors)(*(ids[:1] for ids in vars(relation.anchors).values()))
    out, inside = (
        SupCon(temperature=0.1, variant=variant)(embeddings[:1], embeddings, type(relation)(of, relation.candidates))
        for variant in ("out", "in")
    )
    spread = math.log(math.exp(10) + 3)
    assert out.total.item() == pytest.approx(spread - 5, rel=1e-12)
    assert inside.total.item() == pytest.approx(spread - math.log((math.exp(10) + 1) / 2), rel=1e-12)


def test_its_own_temperature_is_the_papers():
    assert SupCon().temperature == 0.1


def test_another_variant_is_refused_with_its_path():
    with pytest.raises(SpecError, match=r"^training\.loss_options\.variant: .*'out' or 'in'; got 'both'$"):
        LOSSES.build("supcon", {"variant": "both"}, field="training.loss")
