"""FaceNet: triplets of labeled samples, in batches of P classes with K samples each."""

import math

import digits
import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.reducers import MeanReducer
from small_training import JobOf
from torch import nn

from cl_core.encoders import Encoder
from cl_core.encoders.mlp import MLP
from cl_core.errors import SpecError
from cl_core.losses.triplet import Triplet
from cl_core.methods import Samples
from cl_core.methods.facenet import FaceNetOptions
from cl_core.specs import TrainingSpec
from cl_core.training.components import assemble
from cl_core.training.feed import Feed
from cl_core.training.loop import train

LABELS = torch.tensor([0, 2, 2, 0, 0, 5, 2, 5])


def method_of(**triplet):
    torch.manual_seed(0)
    options = FaceNetOptions(projector_features=4, samples_per_class=2)
    return options.build(Encoder(nn.Linear(6, 5), 5), Triplet(**triplet)).double()


def view(samples=8, seed=3):
    return torch.randn(samples, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def semi_hard(rows, labels, margin):
    """Sec. 3.2, one positive pair at a time: the nearest negative that is farther, the farthest where none is."""
    unit = [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in rows.tolist()]

    def squared(i, j):
        return sum((a - b) ** 2 for a, b in zip(unit[i], unit[j], strict=True))

    terms = []
    for a in range(len(unit)):
        negatives = [squared(a, n) for n in range(len(unit)) if labels[n] != labels[a]]
        for p in range(len(unit)):
            if p != a and labels[p] == labels[a]:
                farther = [d for d in negatives if d > squared(a, p)]
                terms.append(max(0.0, squared(a, p) - (min(farther) if farther else max(negatives)) + margin))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_the_loss_is_that_of_semi_hard_triplets_of_unit_embeddings(margin):
    method = method_of(margin=margin, mining="semi_hard")
    rows = method.projector(method.encoder(view()))
    step = method((view(),), Samples(torch.arange(8), LABELS))
    assert step.loss.item() == pytest.approx(semi_hard(rows, LABELS.tolist(), margin), abs=1e-12)
    assert step.groups.tolist() == LABELS.tolist()
    assert step.embeddings.shape == (8, 4)


def test_all_triplets_agree_with_another_library():
    method = method_of(margin=0.2, mining="all")
    rows = method.projector(method.encoder(view()))
    theirs = TripletMarginLoss(margin=0.2, distance=LpDistance(power=2), reducer=MeanReducer())(rows, LABELS)
    assert method((view(),), Samples(torch.arange(8), LABELS)).loss.item() == pytest.approx(theirs.item(), abs=1e-10)


def test_two_views_of_a_sample_are_two_rows_of_its_class():
    method = method_of(margin=0.2, mining="semi_hard")
    both = torch.cat([view(), view(seed=4)])
    rows = method.projector(method.encoder(both))
    step = method(both.chunk(2), Samples(torch.arange(8), LABELS))
    assert step.loss.item() == pytest.approx(semi_hard(rows, LABELS.tolist() * 2, 0.2), abs=1e-12)


def test_the_plateau_is_the_margin_and_that_of_other_losses_follows_from_the_batch():
    assert method_of(margin=0.3, mining="semi_hard").trivial_losses(12) == {
        "every embedding is the same": pytest.approx(0.3, abs=1e-6)
    }
    parts = assemble(TrainingSpec(method="facenet", loss="supcon"))
    method = parts.method.build(MLP(features=5).build((1, 8, 8)), parts.loss)
    assert method.trivial_losses(256) == {"every embedding is the same": pytest.approx(math.log(255), rel=1e-6)}


def test_the_parts_are_those_of_the_paper_and_the_views_are_mild():
    spec = assemble(TrainingSpec(method="facenet")).spec
    assert spec.method_options == {"samples_per_class": None, "projector_features": 128}
    assert spec.loss == "triplet"
    assert {"margin": 0.2, "mining": "semi_hard", "distance": "squared_euclidean", "normalize": True}.items() <= (
        spec.loss_options.items()
    )
    assert spec.views == "simclr" and spec.views_options["view_count"] == 1
    assert spec.views_options["blur_probability"] == spec.views_options["grayscale_probability"] == 0
    parts = assemble(TrainingSpec(method="facenet"))
    assert parts.method.needs_labels and parts.method.batch_samples_per_class == 32
    embedding = parts.method.build(MLP(features=5).build((1, 8, 8)), parts.loss).projector
    assert [type(layer) for layer in embedding] == [nn.Linear] and embedding[0].weight.shape == (128, 5)


def test_a_training_meets_p_classes_with_k_samples_each(job_of: JobOf, monkeypatch: pytest.MonkeyPatch):
    fed = []
    original = Feed.views

    def watching(self, positions, *, epoch):
        fed.append((epoch, self.split.labels[positions], positions))
        return original(self, positions, epoch=epoch)

    monkeypatch.setattr(Feed, "views", watching)
    job = job_of(method="facenet", method_options={"samples_per_class": 8}, epochs=2)
    checkpoint = train(job)
    assert len(fed) == checkpoint.step > 10
    for _, labels, _ in fed:
        assert np.unique(labels, return_counts=True)[1].tolist() == [8] * 4
    for epoch in range(2):
        visited = np.concatenate([positions for of, _, positions in fed if of == epoch])
        assert len(np.unique(visited)) == len(visited)


@pytest.mark.integration
def test_it_learns_a_metric_that_holds_for_writers_it_never_saw():
    method = digits.build(FaceNetOptions(samples_per_class=10, projector_features=32), Triplet(mining="semi_hard"))
    before = digits.on_held_out(method, digits.itself)
    digits.train(method, digits.itself, epochs=10, samples_per_class=10)
    after = digits.on_held_out(method, digits.itself)
    assert before.loss > 0.15 and after.loss < 0.2 / 2  # The margin is the plateau of a collapse.
    assert digits.nearest(after) > 0.95


@pytest.mark.parametrize(
    "loss",
    ["triplet", "margin_contrastive", "logistic", "pairwise_logistic", "n_pair", "supcon", "info_nce", "decoupled"],
)
def test_losses_that_learn_from_classes_are_accepted_and_finite(loss):
    parts = assemble(TrainingSpec(method="facenet", loss=loss, method_options={"samples_per_class": 2}))
    method = parts.method.build(Encoder(nn.Linear(6, 5), 5), parts.loss).double()
    loss = method((view(),), Samples(torch.arange(8), LABELS)).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.parameters())


def test_a_loss_for_unknown_classes_is_refused():
    with pytest.raises(SpecError, match=r"^training\.loss: method 'facenet' does not accept loss 'debiased'; choose"):
        assemble(TrainingSpec(method="facenet", loss="debiased"))


@pytest.mark.parametrize("wrong", [{"samples_per_class": 1}, {"projector_features": 1}, {"projector_hidden": 8}])
def test_options_out_of_bounds_are_refused_with_their_path(wrong):
    [name] = wrong
    with pytest.raises(SpecError, match=rf"^training\.method_options\.{name}: "):
        assemble(TrainingSpec(method="facenet", method_options=wrong))


def test_three_views_are_refused():
    with pytest.raises(SpecError, match=r"^training\.views: method 'facenet' takes 1 to 2 views of each sample, but "):
        assemble(TrainingSpec(method="facenet", views="simclr", views_options={"view_count": 3}))


@pytest.mark.parametrize(
    ("classes", "each", "batch_size", "chosen"),
    [
        (10, 5_880, 256, 32),
        (10, 10, 64, 8),
        (3, 10, 30, 10),
        (2, 100, 128, 64),  # 32 would take four classes.
        (40, 5, 64, 4),
        (10, 10, 256, 32),  # None fits: the usual one is then refused, with what does.
        (0, 0, 256, 32),
    ],
)
def test_samples_per_class_left_open_are_the_usual_ones_or_the_nearest_that_fit(classes, each, batch_size, chosen):
    fitted = FaceNetOptions().fitted_to([each] * classes, batch_size=batch_size)
    assert fitted == FaceNetOptions(samples_per_class=chosen)


def test_given_samples_per_class_stay():
    given = FaceNetOptions(samples_per_class=16)
    assert given.fitted_to([10] * 10, batch_size=64) is given
