"""Siamese networks: each pair of rows is judged by itself, and labels or views say which are the same."""

import math
from functools import partial

import digits
import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import SigLipLoss
from torch import nn

from cl_core.encoders import Encoder
from cl_core.encoders.mlp import MLP
from cl_core.errors import SpecError
from cl_core.losses.margin_contrastive import MarginContrastive
from cl_core.losses.pairwise_logistic import PairwiseLogistic
from cl_core.methods import Samples
from cl_core.methods.siamese import SiameseOptions
from cl_core.specs import TrainingSpec
from cl_core.training.components import assemble

LABELS = [0, 2, 2, 0, 5, 5]
SAMPLES = Samples(torch.arange(40, 46), torch.tensor(LABELS))


def method_of(loss, **options):
    torch.manual_seed(0)
    return SiameseOptions(projector_features=4, **options).build(Encoder(nn.Linear(6, 5), 5), loss).double()


def views_of(samples=6, *, count=2):
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randn(samples, 6, generator=generator, dtype=torch.float64) for _ in range(count))


def by_the_equation(rows, groups, margin):
    """Eq. 4 of Hadsell et al. 2006, one pair at a time; the same and the different weigh the same for each row."""
    unit = F.normalize(rows, dim=1).tolist()
    halves = []
    for i, row in enumerate(unit):
        sides = {True: [], False: []}
        for k, other in enumerate(unit):
            if k != i:
                distance = math.sqrt(sum((a - b) ** 2 for a, b in zip(row, other, strict=True)))
                same = groups[i] == groups[k]
                sides[same].append((distance if same else max(0.0, margin - distance)) ** 2 / 2)
        halves.append(sum(sum(side) / len(side) for side in sides.values()) / 2)
    return sum(halves) / len(halves)


@pytest.mark.parametrize("margin", [0.5, 1.5])
@pytest.mark.parametrize(("pairs", "count"), [("views", 2), ("views", 3), ("labels", 1), ("labels", 2)])
def test_the_loss_is_that_of_all_pairs_of_the_batch(pairs, count, margin):
    method = method_of(MarginContrastive(margin=margin, balanced=True), pairs=pairs)
    views = views_of(count=count)
    rows = method.projector(method.encoder(torch.cat(views)))
    groups = (LABELS if pairs == "labels" else SAMPLES.ids.tolist()) * count
    step = method(views, SAMPLES)
    assert step.loss.item() == pytest.approx(by_the_equation(rows, groups, margin), abs=1e-12)
    assert step.groups.tolist() == groups


def test_pairwise_logistic_on_views_is_that_of_another_library():
    """SigLIP scores the rows of view 0 against those of view 1; here rows of one view are pairs as well."""
    method = method_of(PairwiseLogistic(start_scale=5.0, start_bias=-2.0))
    views = views_of()
    first, second = (F.normalize(method.projector(method.encoder(view)), dim=1) for view in views)
    across = SigLipLoss()(first, second, torch.tensor(5.0), torch.tensor(-2.0))
    within = sum(
        F.softplus(5 * unit @ unit.T - 2).masked_fill(torch.eye(6, dtype=torch.bool), 0).sum()
        for unit in (first, second)
    )
    # Either direction across views, and both views within themselves, over 12 anchors.
    expected = (2 * 6 * across + within) / 12
    assert method(views, SAMPLES).loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_pairs_of_views_need_no_labels_and_pairs_of_labels_do():
    views, labels = SiameseOptions(), SiameseOptions(pairs="labels", samples_per_class=4)
    assert (views.needs_labels, views.batch_samples_per_class, views.view_counts) == (False, 0, range(2, 9))
    assert (labels.needs_labels, labels.batch_samples_per_class, labels.view_counts) == (True, 4, range(1, 9))
    method, batch = method_of(MarginContrastive()), views_of()
    assert method(batch, Samples(SAMPLES.ids)).loss.equal(method(batch, SAMPLES).loss)


def test_the_plateau_of_a_collapse_is_half_the_squared_margin_of_the_negatives():
    """(1 - y) m^2 / 2 with y the share of positives; half of the pairs when they are balanced."""
    plateau = "every embedding is the same"
    assert method_of(MarginContrastive(margin=1.2, balanced=True)).trivial_losses(6)[plateau] == pytest.approx(0.36)
    unbalanced = method_of(MarginContrastive(margin=1.2, balanced=False)).trivial_losses(6)
    assert unbalanced[plateau] == pytest.approx(10 / 11 * 0.72)


def test_the_parts_are_those_of_the_paper():
    spec = assemble(TrainingSpec(method="siamese")).spec
    assert spec.method_options == {"pairs": "views", "samples_per_class": 0, "projector_features": 128}
    assert (spec.loss, spec.loss_options["margin"], spec.loss_options["balanced"]) == ("margin_contrastive", 1, True)
    parts = assemble(TrainingSpec(method="siamese"))
    embedding = parts.method.build(MLP(features=5).build((1, 8, 8)), parts.loss).projector
    assert [type(layer) for layer in embedding] == [nn.Linear] and embedding[0].weight.shape == (128, 5)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("pairs", "views"), [("labels", digits.itself), ("views", partial(digits.mixtures, alpha=0.7))]
)
def test_samples_of_a_pair_move_together_and_others_apart(pairs, views):
    """On unseen digits; a collapse would stay at margin^2 / 4 = 0.25, with every distance 0."""
    method = digits.build(SiameseOptions(pairs=pairs, projector_features=32), MarginContrastive(balanced=True))
    before = digits.on_held_out(method, views)
    digits.train(method, views, epochs=10)
    after = digits.on_held_out(method, views)
    assert after.loss < 0.5 * before.loss < 0.5 * 0.25
    assert digits.nearest(after) > 0.9
    unit = F.normalize(after.embeddings, dim=1)
    squared = 2 - 2 * unit @ unit.T
    same = after.groups[:, None] == after.groups
    apart = squared[~same].mean()
    together = squared[same & ~torch.eye(len(unit), dtype=torch.bool)].mean()
    assert apart > 1 and together < 0.25 * apart


@pytest.mark.parametrize("loss", ["margin_contrastive", "logistic", "pairwise_logistic"])
def test_losses_of_single_pairs_are_accepted(loss):
    assert assemble(TrainingSpec(method="siamese", loss=loss)).loss is not None


def test_losses_that_compare_pairs_are_refused():
    with pytest.raises(SpecError) as caught:
        assemble(TrainingSpec(method="siamese", loss="info_nce"))
    assert str(caught.value) == (
        "training.loss: method 'siamese' does not accept loss 'info_nce'; "
        "choose one of: logistic, margin_contrastive, pairwise_logistic"
    )


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"samples_per_class": 4},
            "samples_per_class 4 has no effect with pairs 'views'; set it to 0, or choose pairs 'labels'",
        ),
        (
            {"samples_per_class": 1, "pairs": "labels"},
            "samples_per_class 1 gives no pairs within a class; choose at least 2",
        ),
        ({"pairs": "twins"}, "pairs: input should be 'views' or 'labels'; got 'twins'"),
    ],
)
def test_options_that_contradict_each_other_are_refused_in_a_sentence(wrong, sentence):
    with pytest.raises(SpecError) as caught:
        assemble(TrainingSpec(method="siamese", method_options=wrong))
    assert str(caught.value).removeprefix("training.method_options").lstrip(".: ") == sentence


def test_a_single_view_is_enough_for_pairs_of_labels_only():
    one = {"view_count": 1}
    assert assemble(
        TrainingSpec(method="siamese", method_options={"pairs": "labels"}, views="simclr", views_options=one)
    )
    with pytest.raises(SpecError, match=r"^training\.views: method 'siamese' takes 2 to 8 views of each sample, but "):
        assemble(TrainingSpec(method="siamese", views="simclr", views_options=one))
