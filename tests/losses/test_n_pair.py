"""The N-pair loss against its equation, pytorch-metric-learning's, and by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from pair_losses import EVERY_TILED_LOSS, dot, pairs_of, queries_and_keys, rows, two_views
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.losses import NPairsLoss

from cl_core.errors import SpecError
from cl_core.losses import Relation, relation_within
from cl_core.losses.n_pair import NPair
from cl_core.registry import LOSSES


def by_the_equation(loss):
    """Eq. 6 of Sohn 2016, one pair at a time: 1 stands for the positive itself, and for others beside it."""

    def equation(anchors, candidates, relation):
        total, count = 0.0, 0
        for i, positives, negatives in pairs_of(relation):
            product = {k: dot(anchors[i], candidates[k]) for k in positives + negatives}
            for p in positives:
                others = math.fsum(math.exp(product[k] - product[p]) for k in product if k != p)
                total += math.log1p(others) / len(positives)
            if positives:
                total += loss.l2_weight * dot(anchors[i], anchors[i])
                count += 1
        return total, count

    return equation


@pytest.mark.parametrize("keeps", EVERY_TILED_LOSS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("loss", [NPair(l2_weight=0, tile=0), NPair(l2_weight=0.3, tile=4)], ids=str)
def test_it_has_the_properties_of_every_loss(loss, keeps):
    keeps(loss, by_the_equation(loss))


def test_identical_embeddings_cost_log_of_the_number_of_pairs_and_their_weighted_length():
    """N pairs of which all 2 N rows coincide, with squared length 12: log(N), and 0.002 * 12."""
    loss = NPair(l2_weight=0.002)(torch.full((7, 3), 2.0), torch.full((7, 3), 2.0), queries_and_keys(7, 7))
    assert loss.mean.item() == pytest.approx(math.log(7) + 0.024, rel=1e-6)
    assert loss.count.item() == 7
    among_themselves = torch.full((14, 3), 2.0)
    loss = NPair(l2_weight=0.002)(among_themselves, among_themselves, two_views(7))
    assert loss.mean.item() == pytest.approx(math.log(13) + 0.024, rel=1e-6)


@pytest.mark.parametrize("pairs", [2, 17])
def test_pairs_agree_with_pytorch_metric_learning(pairs):
    """Its anchors are the first row of each class and its candidates the second."""
    first, second = rows(pairs, 6, seed=1).requires_grad_(), rows(pairs, 6, seed=2).requires_grad_()
    reference = NPairsLoss(distance=DotProductSimilarity(normalize_embeddings=False))
    theirs = reference(torch.cat([first, second]), torch.arange(pairs).repeat(2))
    ours = NPair(l2_weight=0)(first, second, queries_and_keys(pairs, pairs)).mean
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-10)
    for mine, other in zip(
        torch.autograd.grad(ours, [first, second]), torch.autograd.grad(theirs, [first, second]), strict=True
    ):
        torch.testing.assert_close(mine, other, atol=1e-10, rtol=0)


def test_several_positives_are_the_cross_entropy_with_equal_shares():
    """As TensorFlow's npairs_loss has it: the targets of a row are its positives, 1 / how many each."""
    classes = torch.tensor([0, 1, 0, 2, 1, 0])
    anchors, candidates = rows(6, 4), rows(6, 4, seed=1)
    samples, view = torch.arange(6), torch.zeros(6, dtype=torch.int64)
    among = type(relation_within(classes).anchors)
    relation = Relation(among(samples, view, classes), among(samples, view + 1, classes))
    targets = (classes[:, None] == classes).double()
    expected = F.cross_entropy(anchors @ candidates.T, targets / targets.sum(1, keepdim=True)).item()
    assert NPair(l2_weight=0)(anchors, candidates, relation).mean.item() == pytest.approx(expected, rel=1e-12)


def test_the_weight_on_lengths_is_on_counted_anchors_alone():
    """Of sums and counts the mean over all workers' anchors follows; row 4 has no positive and is no row's anchor."""
    embeddings, relation = rows(5, 4).requires_grad_(), relation_within(torch.tensor([0, 0, 1, 1, 2]))
    light, heavy = (NPair(l2_weight=weight)(embeddings, embeddings, relation) for weight in (0, 0.3))
    penalty = heavy.total - light.total
    squares = embeddings[:4].square().sum().item()
    assert penalty.item() == pytest.approx(0.3 * squares, rel=1e-12) and heavy.count.item() == 4
    [gradient] = torch.autograd.grad(penalty, embeddings)
    expected = 0.6 * embeddings.detach()
    expected[4] = 0
    torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=0)


def test_the_loss_depends_on_the_lengths_of_rows():
    """Rows e1 and e2, each twice, of length 3: log(1 + 2 e^-9); of length 1: log(1 + 2 e^-1)."""
    for length in (1, 3):
        embeddings = length * torch.eye(2, dtype=torch.float64).repeat(2, 1)
        loss = NPair(l2_weight=0)(embeddings, embeddings, two_views(2))
        assert loss.mean.item() == pytest.approx(math.log1p(2 * math.exp(-(length**2))), rel=1e-12)


def test_long_rows_do_not_overflow_in_float32():
    """Dot products of 10,000: exp of their differences is 0, or infinity, but its logarithm is the difference."""
    embeddings = (100 * torch.eye(2).repeat(2, 1)).requires_grad_()
    assert NPair(l2_weight=0)(embeddings, embeddings, two_views(2)).mean.item() == 0
    relation = relation_within(torch.tensor([0, 1, 1, 0]))  # Each row's positive is the orthogonal one.
    loss = NPair(l2_weight=0)(embeddings, embeddings, relation).mean
    assert loss.item() == pytest.approx(10_000, rel=1e-6)
    loss.backward()
    assert torch.isfinite(embeddings.grad).all()


def test_a_negative_weight_is_refused_with_its_path():
    with pytest.raises(SpecError, match=r"^training\.loss_options\.l2_weight: .*; got -0\.1$"):
        LOSSES.build("n_pair", {"l2_weight": -0.1}, field="training.loss")
