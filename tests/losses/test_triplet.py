"""The triplet loss against its equations, against torch's and pytorch-metric-learning's, and by hand."""

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
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer

from cl_core.errors import SpecError
from cl_core.losses import Relation, relation_within
from cl_core.losses.triplet import Triplet
from cl_core.registry import LOSSES


def distance_of(loss):
    def distance(first, second):
        if loss.distance == "cosine":
            return 1 - cosine(first, second)
        squared = 2 - 2 * cosine(first, second) if loss.normalize else math.dist(first.tolist(), second.tolist()) ** 2
        return squared if loss.distance == "squared_euclidean" else math.sqrt(max(0, squared))

    return distance


def mined(mining, positives, negatives):
    """Distances of the positive and the negative of each triplet of one anchor, by its distances."""
    if not positives or not negatives:
        return []
    if mining == "all":
        return [(positive, negative) for positive in positives for negative in negatives]
    if mining == "hard":
        return [(max(positives), min(negatives))]
    semi_hard = []
    for positive in positives:
        farther = [negative for negative in negatives if negative > positive]
        semi_hard.append((positive, min(farther) if farther else max(negatives)))
    return semi_hard


def by_the_equation(loss):
    """Eq. 3 of FaceNet, arXiv:1503.03832, over the triplets that the mining finds, one at a time."""

    def equation(anchors, candidates, relation):
        distance, total, count = distance_of(loss), 0.0, 0
        for i, positives, negatives in pairs_of(relation):
            to = {k: distance(anchors[i], candidates[k]) for k in positives + negatives}
            for positive, negative in mined(loss.mining, [to[k] for k in positives], [to[k] for k in negatives]):
                excess = positive - negative + loss.margin
                total += math.log1p(math.exp(excess)) if loss.soft_margin else max(0, excess)
                count += 1
        return total, count

    return equation


MININGS = ["all", "hard", "semi_hard"]
BATCH_HARD = {"mining": "hard", "distance": "euclidean", "normalize": False, "soft_margin": True, "margin": 0}
VARIANTS = [
    *(Triplet(mining=mining) for mining in MININGS),
    Triplet(mining="all", distance="euclidean", margin=1),
    Triplet(mining="semi_hard", distance="cosine", soft_margin=True),
    Triplet(**BATCH_HARD),
]


@pytest.mark.parametrize("loss", VARIANTS, ids=repr)
@pytest.mark.parametrize("keeps", EVERY_LOSS, ids=lambda check: check.__name__)
def test_whatever_the_options_it(loss, keeps):
    keeps(loss, by_the_equation(loss))


@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("keeps", EVERY_NORMALizED_LOSS[len(EVERY_LOSS) :], ids=lambda check: check.__name__)
def test_the_form_on_unit_rows_has_the_properties_of_every_loss(mining, keeps):
    keeps(Triplet(mining=mining), by_the_equation(Triplet(mining=mining)))


@pytest.mark.parametrize("distance", ["squared_euclidean", "euclidean", "cosine"])
@pytest.mark.parametrize(("mining", "triplets"), [("all", 8 * 6), ("hard", 8), ("semi_hard", 8)])
def test_identical_embeddings_cost_the_margin(mining, triplets, distance):
    embeddings = torch.ones(8, 3)
    loss = Triplet(mining=mining, distance=distance, margin=0.2)(embeddings, embeddings, two_views(4))
    assert loss.mean.item() == pytest.approx(0.2, rel=1e-6) and loss.count.item() == triplets


@pytest.mark.parametrize("mining", ["hard", "semi_hard"])
def test_identical_embeddings_cost_log_2_with_the_papers_soft_margin(mining):
    embeddings = torch.ones(8, 3)
    loss = Triplet(mining=mining, soft_margin=True, margin=0)(embeddings, embeddings, two_views(4))
    assert loss.mean.item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize(
    ("mining", "expected"),
    [
        # Positives at 1 and 3, negatives at 0.5, 2, 3.1 and 9; the margin is 0.5.
        ("all", (1 + 0 + 0 + 0 + 3 + 1.5 + 0.4 + 0, 8)),
        ("hard", (3 - 0.5 + 0.5, 1)),
        ("semi_hard", (0 + 0.4, 2)),  # 1 meets 2, which is beyond its margin; 3 meets 3.1.
    ],
)
def test_the_loss_of_a_query_among_six_keys_is_the_value_computed_by_hand(mining, expected):
    query, keys = torch.zeros(1, 1), torch.tensor([1, 3, 0.5, 2, 3.1, 9])[:, None]
    relation = queries_and_keys(1, 6)
    relation.candidates.groups[1] = 0
    loss = Triplet(mining=mining, distance="euclidean", normalize=False, margin=0.5)
    assert_is(loss(query, keys, relation), expected, tolerance=1e-6)


def test_a_positive_with_no_negative_beyond_it_is_set_against_the_farthest_negative():
    """Positives at 1 and 5, negatives at 2 and 3: 1 meets 2, and 5 meets 3, as TensorFlow Addons does."""
    query, keys = torch.zeros(1, 1), torch.tensor([1.0, 5, 2, 3])[:, None]
    relation = queries_and_keys(1, 4)
    relation.candidates.groups[1] = 0
    loss = Triplet(mining="semi_hard", distance="euclidean", normalize=False, margin=2)
    assert_is(loss(query, keys, relation), ((1 - 2 + 2) + (5 - 3 + 2), 2), tolerance=1e-6)


@pytest.mark.parametrize("mining", MININGS)
def test_satisfied_triplets_are_counted(mining):
    """So that the mean falls as training goes on."""
    embeddings = torch.tensor([[1.0, 0], [-1, 0]]).repeat(2, 1)
    loss = Triplet(mining=mining)(embeddings, embeddings, two_views(2))
    assert_is(loss, (0, 8 if mining == "all" else 4))


@pytest.mark.parametrize("mining", MININGS)
def test_anchors_without_positives_or_without_negatives_have_no_triplets(mining):
    embeddings, loss = rows(6, 4).requires_grad_(), Triplet(mining=mining)
    alone = relation_within(torch.tensor([0, 0, 1, 1, 2, 3]))
    first_four = Relation(chosen(alone.anchors, torch.arange(4)), alone.candidates)
    without = loss(embeddings[:4], embeddings, first_four)
    assert_is(loss(embeddings, embeddings, alone), (without.total.item(), without.count.item()))
    for groups in (torch.zeros(6, dtype=torch.int64), torch.arange(6)):
        none = loss(embeddings, embeddings, relation_within(groups))
        assert_is(none, (0, 0))
        (gradient,) = torch.autograd.grad(none.mean, embeddings)
        assert torch.equal(gradient, torch.zeros_like(gradient))


CLASSES = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 0, 0])


def assert_has_value_and_gradient_of(ours, theirs, embeddings):
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-12)
    mine, reference = torch.autograd.grad(ours, embeddings), torch.autograd.grad(theirs, embeddings)
    torch.testing.assert_close(mine, reference, atol=1e-12, rtol=0)


@pytest.mark.parametrize("margin", [0.2, 1.0])
@pytest.mark.parametrize("distance", ["squared_euclidean", "euclidean"])
@pytest.mark.parametrize("mining", ["all", "hard"])
def test_classes_agree_with_pytorch_metric_learning(mining, distance, margin):
    embeddings = rows(10, 6).requires_grad_()
    lengths = LpDistance(normalize_embeddings=True, p=2, power=2 if distance == "squared_euclidean" else 1)
    triplets = BatchHardMiner(distance=lengths)(embeddings, CLASSES) if mining == "hard" else None
    theirs = TripletMarginLoss(margin, distance=lengths, reducer=MeanReducer())(embeddings, CLASSES, triplets)
    loss = Triplet(mining=mining, distance=distance, margin=margin)
    ours = loss(embeddings, embeddings, relation_within(CLASSES)).mean
    assert_has_value_and_gradient_of(ours, theirs, embeddings)


@pytest.mark.parametrize("mining", MININGS)
def test_triplets_agree_with_torch(mining):
    """Each anchor's triplets written out for `TripletMarginWithDistanceLoss`."""
    embeddings, relation = rows(10, 6).requires_grad_(), relation_within(CLASSES)
    unit = F.normalize(embeddings, dim=1)

    def squared(first, second):
        return (first - second).square().sum(1)

    triplets = []
    for i, positives, negatives in pairs_of(relation):
        to = dict(enumerate(squared(unit[i], unit).tolist()))
        position = {value: k for k, value in to.items()}
        found = mined(mining, [to[k] for k in positives], [to[k] for k in negatives])
        triplets += [(i, position[positive], position[negative]) for positive, negative in found]
    anchor, positive, negative = (unit[list(of)] for of in zip(*triplets, strict=True))
    theirs = torch.nn.TripletMarginWithDistanceLoss(distance_function=squared, margin=0.2)(anchor, positive, negative)
    loss = Triplet(mining=mining)(embeddings, embeddings, relation)
    assert loss.count.item() == len(triplets)
    assert_has_value_and_gradient_of(loss.mean, theirs, embeddings)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", VARIANTS, ids=repr)
def test_rows_that_coincide_have_a_finite_gradient(loss, dtype):
    """The root of a distance of 0 has an infinite slope."""
    embeddings = rows(6, 3, seed=1).to(dtype)
    embeddings[1] = embeddings[0]  # Of two samples.
    embeddings[5] = embeddings[2]  # Of one sample.
    embeddings.requires_grad_()
    loss(embeddings, embeddings, two_views(3)).mean.backward()
    assert torch.isfinite(embeddings.grad).all() and embeddings.grad.abs().max() > 0
    same = torch.ones(6, 3, dtype=dtype, requires_grad=True)
    loss(same, same, two_views(3)).mean.backward()
    assert same.grad.abs().max() < torch.finfo(dtype).eps


@pytest.mark.parametrize("loss", VARIANTS, ids=repr)
def test_an_embedding_of_nan_makes_the_loss_nan(loss):
    _, candidates, relation = cases()["classes, one of them with one row"]
    broken = candidates.index_fill(0, torch.tensor([1]), math.nan)
    assert math.isnan(loss(broken, broken, relation).mean.item())


def test_all_triplets_of_a_large_batch_keep_their_digits_in_float32():
    """14 million triplets, summed by differences of sums over 262,144 pairs."""
    groups = torch.arange(8).repeat_interleave(64)
    embeddings = rows(512, 16) + rows(8, 16, seed=1)[groups]
    half = embeddings.float()
    loss = Triplet()(half, half, relation_within(groups))
    unit = F.normalize(embeddings, dim=1)
    squared = 2 - 2 * unit @ unit.T
    total = sum(
        F.relu(squared[i, same][:, None] - squared[i, ~same & (groups != groups[i])] + 0.2).sum().item()
        for i in range(512)
        for same in [(groups == groups[i]) & (torch.arange(512) != i)]
    )
    assert_is(loss, (total, 512 * 63 * 448), tolerance=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, r"^training\.loss_options\.margin: .* greater than or equal to 0; got -0\.1$"),
        ({"mining": "easy"}, r"^training\.loss_options\.mining: .*'all', 'hard' or 'semi_hard'; got 'easy'$"),
        ({"distance": "cosine", "normalize": False}, r"^training\.loss_options: normalize cannot be off with .*cosine"),
        ({"soft_margin": True}, r"^training\.loss_options: soft_margin needs mining 'hard' or 'semi_hard'"),
        ({"margin": 0}, r"^training\.loss_options: margin 0 without soft_margin has its minimum where all embeddings"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_their_path(options, message):
    with pytest.raises(SpecError, match=message):
        LOSSES.build("triplet", options, field="training.loss")
