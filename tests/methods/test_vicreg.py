"""VICReg against its equations, two other libraries, and what it must not depend on."""

import math

import pytest
import torch
from lightly.loss import VICRegLoss
from pytorch_metric_learning.losses import VICRegLoss as VICRegLossOfPML
from torch import nn

from cl_core.encoders import Encoder
from cl_core.encoders.mlp import MLP
from cl_core.errors import SpecError
from cl_core.methods import Samples
from cl_core.methods.vicreg import VICRegOptions
from cl_core.registry import METHODS
from cl_core.specs import TrainingSpec
from cl_core.training.components import assemble

PAPER = {"invariance_weight": 25.0, "variance_weight": 25.0, "covariance_weight": 1.0}


def vicreg(first, second, **options):
    return VICRegOptions(**options).objective(first, second)


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_the_equations(first, second, *, invariance_weight, variance_weight, covariance_weight):
    """Eq. 1-6 of arXiv:2105.04906, one entry at a time, with the means that its published code takes."""
    count, dimensions = first.shape
    squares = [(a - b) ** 2 for a, b in zip(first.flatten().tolist(), second.flatten().tolist(), strict=True)]
    loss = invariance_weight * sum(squares) / len(squares)
    for view in (first, second):
        columns = [column.tolist() for column in view.T]
        for i, a in enumerate(columns):
            for j, b in enumerate(columns):
                mean_a, mean_b = sum(a) / count, sum(b) / count
                covariance = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)) / (count - 1)
                if i != j:
                    loss += covariance_weight * covariance**2 / dimensions
                else:
                    loss += variance_weight * max(0, 1 - math.sqrt(covariance + 1e-4)) / dimensions / 2
    return loss


@pytest.mark.parametrize(
    "weights", [PAPER, {"invariance_weight": 2.0, "variance_weight": 3.0, "covariance_weight": 0.0}]
)
@pytest.mark.parametrize(("samples", "dimensions"), [(2, 3), (9, 4), (5, 7)])
def test_the_loss_agrees_with_the_equations(samples, dimensions, weights):
    first, second = rows(samples, dimensions, seed=1), rows(samples, dimensions, seed=2) / 3 + 1
    expected = by_the_equations(first, second, **weights)
    assert vicreg(first, second, **weights).item() == pytest.approx(expected, abs=1e-12)


def lightly(first, second):
    return VICRegLoss()(first, second)


def pytorch_metric_learning(first, second):
    return VICRegLossOfPML()(first, ref_emb=second)


@pytest.mark.parametrize("library", [lightly, pytorch_metric_learning])
def test_loss_and_gradient_agree_with_another_library(library):
    first, second = (0.8 * rows(32, 16, seed=1)).requires_grad_(), (0.9 * rows(32, 16, seed=2)).requires_grad_()
    theirs, ours = library(first, second), vicreg(first, second, **PAPER)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-10)
    for mine, reference in zip(
        torch.autograd.grad(ours, [first, second]), torch.autograd.grad(theirs, [first, second]), strict=True
    ):
        torch.testing.assert_close(mine, reference, atol=1e-10, rtol=0)


def test_the_gradient_is_that_of_the_value():
    inputs = (rows(5, 3, seed=1).requires_grad_(), (rows(5, 3, seed=2) / 2).requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: vicreg(a, b, **PAPER), inputs)


def test_views_that_agree_in_spread_and_uncorrelated_dimensions_cost_nothing():
    """Four corners of a square of side 2: unbiased variances of 4 / 3, more than 1, and a covariance of 0."""
    corners = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert vicreg(corners, corners, **PAPER).item() == 0


@pytest.mark.parametrize(("place", "dimensions"), [(0, 2), (-3, 128)])
def test_rows_that_coincide_cost_24_75_which_is_the_plateau(place, dimensions):
    same = torch.full((6, dimensions), float(place), dtype=torch.float64).requires_grad_()
    loss = vicreg(same, same, **PAPER)
    assert loss.item() == pytest.approx(24.75, abs=1e-12)
    assert torch.autograd.grad(loss, same)[0].abs().max() == 0
    method = VICRegOptions(projector_features=dimensions).build(MLP().build((1, 2, 2)), None)
    assert method.trivial_losses(64) == {"every embedding is the same": pytest.approx(24.75, abs=1e-12)}


def test_the_plateau_follows_the_variance_weight():
    method = VICRegOptions(variance_weight=10).build(MLP().build((1, 2, 2)), None)
    assert method.trivial_losses(64) == {"every embedding is the same": pytest.approx(9.9, abs=1e-12)}


def test_order_and_place_of_the_rows_do_not_matter():
    first, second, order = rows(9, 4, seed=1), rows(9, 4, seed=2), torch.tensor([3, 0, 8, 1, 7, 2, 6, 4, 5])
    expected = vicreg(first, second, **PAPER).item()
    assert vicreg(first[order], second[order], **PAPER).item() == pytest.approx(expected, abs=1e-12)
    assert vicreg(first - 40, second - 40, **PAPER).item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("shapes", [((4, 3), (4, 2)), ((4, 3), (5, 3)), ((4,), (4,))])
def test_views_of_unlike_shape_are_refused_with_what_came(shapes):
    first, second = shapes
    with pytest.raises(ValueError, match=r"wanted two views \(B, D\) of one shape; got \(4") as caught:
        vicreg(torch.zeros(first), torch.zeros(second), **PAPER)
    assert f"{first} and {second}" in str(caught.value)


def linear_method():
    torch.manual_seed(0)
    options = VICRegOptions(projector_hidden=7, projector_features=4, invariance_weight=3, covariance_weight=2)
    return options.build(Encoder(nn.Linear(6, 5), 5), None).double()


def test_the_method_is_the_loss_of_the_projected_views():
    method, views, ids = linear_method(), (rows(8, 6, seed=1), rows(8, 6, seed=2)), torch.arange(8)
    projected = method.projector(method.encoder(torch.cat(views)))
    expected = by_the_equations(
        projected[:8], projected[8:], invariance_weight=3, variance_weight=25, covariance_weight=2
    )
    step = method(views, Samples(ids))
    assert step.loss.item() == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(step.embeddings, projected.detach(), atol=1e-12, rtol=0)
    assert step.loss.requires_grad and not step.embeddings.requires_grad
    assert step.groups.tolist() == [*range(8), *range(8)]


def test_the_projector_has_two_hidden_layers_with_batch_norm_and_no_bias():
    """The loss does not see a bias at the end: an optimizer that divides by the gradient's size would let it drift."""
    projector = linear_method().projector
    kinds = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert [type(layer) for layer in projector] == [*kinds, *kinds, nn.Linear]
    assert [tuple(layer.weight.shape) for layer in projector if isinstance(layer, nn.Linear)] == [
        (7, 5),
        (7, 7),
        (4, 7),
    ]
    assert all(layer.bias is None for layer in projector if isinstance(layer, nn.Linear))


def test_under_autocast_the_loss_is_that_of_the_embeddings_in_float32():
    method = VICRegOptions(projector_hidden=8, projector_features=4).build(
        MLP(hidden=8, features=5).build((1, 3, 3)), None
    )
    views = tuple(rows(6, 1, 3, 3, seed=seed).float() for seed in (1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        step = method(views, Samples(torch.arange(6)))
    assert step.loss.dtype == step.embeddings.dtype == torch.float32
    first, second = step.embeddings.double().chunk(2)
    assert step.loss.item() == pytest.approx(by_the_equations(first, second, **PAPER), rel=1e-5)
    step.loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.parameters())


def test_the_published_parts_fit_together_and_any_loss_is_refused():
    parts = assemble(TrainingSpec(method="vicreg"))
    assert parts.loss is None and parts.views.count == 2 and parts.views.crop_area_min == 0.08
    with pytest.raises(SpecError, match=r"^training\.loss: method 'vicreg' has its own objective"):
        assemble(TrainingSpec(method="vicreg", loss="info_nce"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"projector_hidden": 0},
        {"projector_features": 1},
        {"invariance_weight": 0},
        {"variance_weight": 0},
        {"covariance_weight": -1},
        {"invariance_weight": 1001},
        {"temperature": 0.1},
    ],
)
def test_options_out_of_bounds_are_refused_with_their_path(wrong):
    [name] = wrong
    with pytest.raises(SpecError, match=rf"^training\.method_options\.{name}: "):
        METHODS.build("vicreg", wrong, field="training.method")
