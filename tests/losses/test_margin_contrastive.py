"""The margin contrastive loss against its equation, against autograd through torch's own distances, by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from pair_losses import (
    EVERY_LOSS,
    EVERY_NORMALizED_LOSS,
    assert_is,
    cases,
    chosen,
    cosine,
    pairs_of,
    queries_and_keys,
    rows,
    two_views,
)

from cl_core.errors import SpecError
from cl_core.losses import Relation, relation_within
from cl_core.losses.margin_contrastive import MarginContrastive
from cl_core.registry import LOSSES


def by_the_equation(loss):
    """Eq. 4 of Hadsell et al. 2006, one pair at a time, with y = 1 for similar."""

    def distance(first, second):
        if loss.distance == "cosine":
            return 1 - cosine(first, second)
        if loss.normalize:
            return math.sqrt(max(0, 2 - 2 * cosine(first, second)))
        return math.dist(first.tolist(), second.tolist())

    def equation(anchors, candidates, relation):
        total, count = 0.0, 0
        for i, positives, negatives in pairs_of(relation):
            similar = [distance(anchors[i], candidates[k]) ** 2 / 2 for k in positives]
            others = [max(0, loss.margin - distance(anchors[i], candidates[k])) ** 2 / 2 for k in negatives]
            if not loss.balanced:
                total, count = total + sum(similar) + sum(others), count + len(similar) + len(others)
            elif similar and others:
                total += (sum(similar) / len(similar) + sum(others) / len(others)) / 2
                count += 1
        return total, count

    return equation


VARIANTS = [
    MarginContrastive(),
    MarginContrastive(margin=1.7, balanced=True),
    MarginContrastive(distance="cosine", margin=0.5),
    MarginContrastive(normalize=False, margin=2.5, balanced=True),
]


@pytest.mark.parametrize("loss", VARIANTS, ids=repr)
@pytest.mark.parametrize("keeps", EVERY_LOSS, ids=lambda check: check.__name__)
def test_whatever_the_options_it(loss, keeps):
    keeps(loss, by_the_equation(loss))


@pytest.mark.parametrize("keeps", EVERY_NORMALizED_LOSS[len(EVERY_LOSS) :], ids=lambda check: check.__name__)
def test_the_form_on_unit_rows_has_the_properties_of_every_loss(keeps):
    keeps(MarginContrastive(), by_the_equation(MarginContrastive()))


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
def test_identical_embeddings_cost_half_the_squared_margin_times_the_share_of_negatives(margin, distance):
    embeddings, relation = torch.ones(8, 3), two_views(4)
    plain = MarginContrastive(margin=margin, distance=distance)(embeddings, embeddings, relation)
    assert plain.mean.item() == pytest.approx(6 / 7 * margin**2 / 2, rel=1e-6) and plain.count.item() == 56
    even = MarginContrastive(margin=margin, distance=distance, balanced=True)(embeddings, embeddings, relation)
    assert even.mean.item() == pytest.approx(margin**2 / 4, rel=1e-6) and even.count.item() == 8


def test_opposite_samples_cost_what_is_missing_to_the_margin():
    """Views coincide, the two samples are 2 apart: nothing up to that margin, (3 - 2)^2 / 2 each for a margin of 3."""
    embeddings = torch.tensor([[1.0, 0], [-1, 0]], dtype=torch.float64).repeat(2, 1)
    relation = two_views(2)
    assert MarginContrastive(margin=2)(embeddings, embeddings, relation).mean.item() == 0
    assert MarginContrastive(margin=3)(embeddings, embeddings, relation).mean.item() == pytest.approx(2 / 3 / 2)
    even = MarginContrastive(margin=3, balanced=True)(embeddings, embeddings, relation)
    assert even.mean.item() == pytest.approx(1 / 4)


def test_balance_gives_the_positives_half_of_the_weight():
    """One positive at distance 3, of ten negatives five at distance 1: 9 / 2 and (2 - 1)^2 / 2 * 5 / 10."""
    query = torch.zeros(1, 2)
    keys = torch.tensor([[3.0, 0], *[[0, 1.0]] * 5, *[[0, 7.0]] * 5])
    relation = queries_and_keys(1, 11)
    options = {"margin": 2, "normalize": False}
    even = MarginContrastive(**options, balanced=True)(query, keys, relation)
    assert_is(even, ((9 / 2 + 1 / 4) / 2, 1), tolerance=1e-6)
    assert_is(MarginContrastive(**options)(query, keys, relation), (9 / 2 + 5 / 2, 11), tolerance=1e-6)


def test_balanced_anchors_without_positives_or_without_negatives_are_left_out():
    embeddings = rows(6, 4)
    alone = relation_within(torch.tensor([0, 0, 1, 1, 2, 3]))
    loss = MarginContrastive(balanced=True)
    first_four = Relation(chosen(alone.anchors, torch.arange(4)), alone.candidates)
    without = loss(embeddings[:4], embeddings, first_four)
    assert_is(loss(embeddings, embeddings, alone), (without.total.item(), 4))
    one_class = relation_within(torch.zeros(6, dtype=torch.int64))
    assert_is(loss(embeddings, embeddings, one_class), (0, 0))
    assert MarginContrastive()(embeddings, embeddings, one_class).count.item() == 30


@pytest.mark.parametrize("balanced", [True, False])
def test_the_gradient_is_that_through_torchs_own_distances(balanced):
    embeddings = rows(12, 5).requires_grad_()
    relation = relation_within(torch.arange(3).repeat(4))
    loss = MarginContrastive(margin=1.3, balanced=balanced)(embeddings, embeddings, relation).mean
    unit = F.normalize(embeddings, dim=1)
    apart = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")
    positive, negative = relation.positives, ~relation.same_group
    pull, push = apart[positive].square() / 2, F.relu(1.3 - apart[negative]).square() / 2
    theirs = (pull.mean() + push.mean()) / 2 if balanced else torch.cat([pull, push]).mean()
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-12)
    mine, reference = torch.autograd.grad(loss, embeddings), torch.autograd.grad(theirs, embeddings)
    torch.testing.assert_close(mine, reference, atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", VARIANTS, ids=repr)
def test_rows_that_coincide_have_a_finite_gradient(loss, dtype):
    """The root of a distance of 0 has an infinite slope."""
    embeddings = rows(6, 3).to(dtype)
    embeddings[1] = embeddings[0]  # Of two samples.
    embeddings[5] = embeddings[2]  # Of one sample.
    embeddings.requires_grad_()
    loss(embeddings, embeddings, two_views(3)).mean.backward()
    assert torch.isfinite(embeddings.grad).all() and embeddings.grad.abs().max() > 0
    same = torch.ones(6, 3, dtype=dtype, requires_grad=True)
    loss(same, same, two_views(3)).mean.backward()
    assert same.grad.abs().max() < torch.finfo(dtype).eps


def test_the_origin_does_not_matter_in_float32():
    """At 4096 from the origin squares are 2^24 and more, and their difference knows no units."""
    points = (8 * rows(10, 4)).round()  # Whole numbers, so that moving them rounds nothing.
    loss = MarginContrastive(normalize=False, margin=20)
    expected = by_the_equation(loss)(points, points, two_views(5))
    moved = (points + 4096).float()
    assert_is(loss(moved, moved, two_views(5)), expected, tolerance=1e-5)


def test_nearly_coinciding_unit_rows_keep_their_digits_in_float32():
    """In a collapse all distances are small: 1e-3 here, of which the expansion about the origin keeps one digit."""
    nearly = (torch.ones(10, 4, dtype=torch.float64) + 1e-3 * rows(10, 4)).float()
    loss = MarginContrastive(margin=1e-3)
    expected = by_the_equation(loss)(nearly.double(), nearly.double(), two_views(5))
    assert_is(loss(nearly, nearly, two_views(5)), expected, tolerance=1e-3 * expected[0])


@pytest.mark.parametrize("loss", VARIANTS, ids=repr)
def test_an_embedding_of_nan_makes_the_loss_nan(loss):
    _, candidates, relation = cases()["classes, one of them with one row"]
    broken = candidates.index_fill(0, torch.tensor([1]), math.nan)
    assert math.isnan(loss(broken, broken, relation).mean.item())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0}, r"^training\.loss_options\.margin: .* greater than 0; got 0$"),
        ({"distance": "manhattan"}, r"^training\.loss_options\.distance: .*'euclidean' or 'cosine'; got 'manhattan'$"),
        ({"distance": "cosine", "normalize": False}, r"^training\.loss_options: normalize cannot be off with .*cosine"),
    ],
)
def test_options_out_of_range_are_refused_with_their_path(options, message):
    with pytest.raises(SpecError, match=message):
        LOSSES.build("margin_contrastive", options, field="training.loss")
