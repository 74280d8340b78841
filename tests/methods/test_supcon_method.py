"""SupCon: the rows of a class are each other's positives, and a sample without a label is alone with its views."""

import math
from functools import partial

import digits
import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss, SupConLoss
from torch import nn

from cl_core.encoders import Encoder
from cl_core.encoders.mlp import MLP
from cl_core.errors import SpecError
from cl_core.losses.supcon import SupCon
from cl_core.methods import Samples
from cl_core.methods.supcon import SupConOptions
from cl_core.specs import TrainingSpec
from cl_core.training.components import assemble

TEMPERATURE = 0.3


def views_of(samples, *, count=2):
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randn(samples, 6, generator=generator, dtype=torch.float64) for _ in range(count))


@pytest.fixture
def method():
    torch.manual_seed(0)
    options = SupConOptions(projector_hidden=8, projector_features=4)
    return options.build(Encoder(nn.Linear(6, 5), 5), SupCon(temperature=TEMPERATURE)).double()


def labeled(labels):
    return Samples(torch.arange(50, 50 + len(labels)), torch.tensor(labels))


@pytest.mark.parametrize("count", [2, 3])
def test_the_loss_is_that_of_another_library_on_the_projected_views(method, count):
    views, labels = views_of(7, count=count), [0, 2, 2, 0, 0, 5, 2]
    rows = method.projector(method.encoder(torch.cat(views)))
    theirs = SupConLoss(TEMPERATURE)(rows, torch.tensor(labels * count))
    step = method(views, labeled(labels))
    assert step.loss.item() == pytest.approx(theirs.item(), abs=1e-12)
    assert step.groups.tolist() == labels * count
    parameters = list(method.parameters())
    for mine, reference in zip(
        torch.autograd.grad(step.loss, parameters), torch.autograd.grad(theirs, parameters), strict=True
    ):
        torch.testing.assert_close(mine, reference, atol=1e-12, rtol=0)


def test_samples_without_a_label_are_alone_with_their_own_views(method):
    """As if each had a class of its own: labels of one (unknown) class would make them positives of each other."""
    views = views_of(6)
    unknown = method(views, labeled([0, -1, 0, -1, 1, -1]))
    own_classes = method(views, labeled([0, 7, 0, 8, 1, 9]))
    assert unknown.loss.item() == pytest.approx(own_classes.loss.item(), abs=1e-12)
    assert len(set(unknown.groups.tolist())) == 5


def test_without_any_label_it_is_simclr(method):
    first, second = views_of(6)
    rows = method.projector(method.encoder(torch.cat([first, second]))).chunk(2)
    theirs = SelfSupervisedLoss(NTXentLoss(TEMPERATURE))(*rows)
    assert method((first, second), labeled([-1] * 6)).loss.item() == pytest.approx(theirs.item(), abs=1e-12)


def test_names_of_classes_and_ids_do_not_matter(method):
    views, labels = views_of(6), [0, 1, 0, 2, 1, -1]
    loss = method(views, labeled(labels)).loss.item()
    renamed = Samples(torch.tensor([2**62, -5, 0, 9, 4, 3]), torch.tensor([4, 9, 4, 0, 9, -1]))
    assert method(views, renamed).loss.item() == pytest.approx(loss, abs=1e-12)


@pytest.mark.integration
def test_it_brings_unseen_digits_to_their_class():
    views = partial(digits.mixtures, alpha=0.9)
    method = digits.build(SupConOptions(projector_hidden=128, projector_features=32), SupCon())
    before = digits.on_held_out(method, views)
    digits.train(method, views, epochs=10)
    after = digits.on_held_out(method, views)
    # A class has some 50 other rows: no loss is below log(50), that of finding each of them equally likely.
    assert math.log(50) < after.loss < before.loss - 1
    # Of one view each, so that a row's other view is not there to be found.
    assert digits.nearest(after, rows=256) > digits.nearest(before, rows=256) + 0.1


def test_the_parts_are_those_of_the_paper():
    parts = assemble(TrainingSpec(method="supcon"))
    assert parts.method.needs_labels and parts.method.batch_samples_per_class == 0
    assert parts.views.count == 2
    spec = assemble(TrainingSpec(method="supcon")).spec
    assert (spec.loss, spec.loss_options["temperature"], spec.loss_options["variant"]) == ("supcon", 0.1, "out")
    assert spec.method_options == {"projector_hidden": 512, "projector_features": 128}
    projector = parts.method.build(MLP(features=5).build((1, 8, 8)), parts.loss).projector
    assert [type(layer) for layer in projector] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert [tuple(weight.shape) for weight in projector.parameters() if weight.ndim == 2] == [(512, 5), (128, 512)]


@pytest.mark.parametrize("loss", ["supcon", "info_nce", "decoupled"])
def test_softmax_losses_of_several_positives_are_accepted(loss):
    assert assemble(TrainingSpec(method="supcon", loss=loss)).loss is not None


@pytest.mark.parametrize("loss", ["debiased", "triplet", "margin_contrastive"])
def test_other_losses_are_refused_with_those_that_fit(loss):
    with pytest.raises(SpecError) as caught:
        assemble(TrainingSpec(method="supcon", loss=loss))
    assert str(caught.value) == (
        f"training.loss: method 'supcon' does not accept loss {loss!r}; choose one of: decoupled, info_nce, supcon"
    )


@pytest.mark.parametrize("wrong", [{"projector_hidden": -1}, {"projector_features": 1}, {"samples_per_class": 4}])
def test_options_out_of_bounds_are_refused_with_their_path(wrong):
    [name] = wrong
    with pytest.raises(SpecError, match=rf"^training\.method_options\.{name}: "):
        assemble(TrainingSpec(method="supcon", method_options=wrong))
