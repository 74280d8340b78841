"""Barlow Twins against its equations, another library, and what it must not depend on."""

import math

import pytest
import torch
from lightly.loss import BarlowTwinsLoss
from torch import nn

from cl_core.encoders import Encoder
from cl_core.encoders.mlp import MLP
from cl_core.errors import SpecError
from cl_core.methods import Samples
from cl_core.methods.barlow_twins import BarlowTwinsOptions
from cl_core.registry import METHODS
from cl_core.specs import TrainingSpec
from cl_core.training.components import assemble

PAPER = {"redundancy_weight": 0.0051, "scale": 1.0}


def barlow_twins(first, second, **options):
    return BarlowTwinsOptions(**options).objective(first, second)


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_the_equation(first, second, redundancy_weight):
    """Eq. 1 and 2 of arXiv:2103.03230, one entry of the correlation matrix at a time."""
    count = len(first)
    loss = 0.0
    columns = [[column.tolist() for column in view.T] for view in (first, second)]
    for i, a in enumerate(columns[0]):
        for j, b in enumerate(columns[1]):
            mean_a, mean_b = sum(a) / count, sum(b) / count
            variance_a = sum((x - mean_a) ** 2 for x in a) / count + 1e-5
            variance_b = sum((x - mean_b) ** 2 for x in b) / count + 1e-5
            product = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)) / count
            correlation = product / math.sqrt(variance_a * variance_b)
            loss += (1 - correlation) ** 2 if i == j else redundancy_weight * correlation**2
    return loss


@pytest.mark.parametrize("redundancy_weight", [0.0051, 1.0])
@pytest.mark.parametrize(("samples", "dimensions"), [(2, 3), (9, 4), (5, 7)])
def test_the_loss_agrees_with_the_equation(samples, dimensions, redundancy_weight):
    first, second = rows(samples, dimensions, seed=1), 3 * rows(samples, dimensions, seed=2) + 1
    loss = barlow_twins(first, second, redundancy_weight=redundancy_weight, scale=1)
    assert loss.item() == pytest.approx(by_the_equation(first, second, redundancy_weight), abs=1e-12)


def test_loss_and_gradient_agree_with_lightly():
    first, second = rows(32, 16, seed=1).requires_grad_(), rows(32, 16, seed=2).requires_grad_()
    theirs = BarlowTwinsLoss(lambda_param=0.0051)(first, second)
    ours = barlow_twins(first, second, **PAPER)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-10)
    for mine, reference in zip(
        torch.autograd.grad(ours, [first, second]), torch.autograd.grad(theirs, [first, second]), strict=True
    ):
        torch.testing.assert_close(mine, reference, atol=1e-10, rtol=0)


def test_the_gradient_is_that_of_the_value():
    inputs = (rows(5, 3, seed=1).requires_grad_(), rows(5, 3, seed=2).requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: barlow_twins(a, b, redundancy_weight=0.3, scale=0.5), inputs)


def test_views_that_agree_in_uncorrelated_dimensions_cost_nothing():
    """Four rows at the corners of a square: both dimensions have variance 1, and their correlation is 0."""
    corners = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64) * 100
    assert barlow_twins(corners, corners, **PAPER).item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("dimensions", [2, 128])
def test_trivial_losses_are_the_losses_of_equal_rows_and_of_equal_dimensions(dimensions):
    options = BarlowTwinsOptions(projector_features=dimensions, scale=0.1)
    found = options.build(MLP().build((1, 2, 2)), None).trivial_losses(64)
    same_rows = torch.ones(6, dimensions, dtype=torch.float64)
    same_dimensions = 1000 * rows(6, 1).expand(6, dimensions)
    weights = {"redundancy_weight": options.redundancy_weight, "scale": options.scale}
    assert barlow_twins(same_rows, same_rows, **weights).item() == pytest.approx(0.1 * dimensions)
    expected = 0.1 * 0.0051 * dimensions * (dimensions - 1)
    assert barlow_twins(same_dimensions, same_dimensions, **weights).item() == pytest.approx(expected, rel=1e-9)
    assert found == {
        "every embedding is the same": pytest.approx(0.1 * dimensions),
        "all dimensions are equal": pytest.approx(expected),
    }


def test_the_scale_multiplies_the_loss():
    first, second = rows(6, 4, seed=1), rows(6, 4, seed=2)
    whole = barlow_twins(first, second, **PAPER)
    tenth = barlow_twins(first, second, redundancy_weight=0.0051, scale=0.1)
    assert tenth.item() == pytest.approx(whole.item() / 10, rel=1e-14)


def test_order_place_and_spread_of_the_rows_do_not_matter():
    first, second, order = rows(9, 4, seed=1), rows(9, 4, seed=2), torch.tensor([3, 0, 8, 1, 7, 2, 6, 4, 5])
    expected = barlow_twins(first, second, **PAPER).item()
    assert barlow_twins(first[order], second[order], **PAPER).item() == pytest.approx(expected, abs=1e-12)
    assert barlow_twins(first - 40, second + 7, **PAPER).item() == pytest.approx(expected, abs=1e-10)
    # But for the 1e-5 beside the variances.
    assert barlow_twins(300 * first, 100 * second, **PAPER).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shapes", [((4, 3), (4, 2)), ((4, 3), (5, 3)), ((4,), (4,))])
def test_views_of_unlike_shape_are_refused_with_what_came(shapes):
    first, second = shapes
    with pytest.raises(ValueError, match=r"wanted two views \(B, D\) of one shape; got \(4") as caught:
        barlow_twins(torch.zeros(first), torch.zeros(second), **PAPER)
    assert f"{first} and {second}" in str(caught.value)


def linear_method():
    torch.manual_seed(0)
    options = BarlowTwinsOptions(projector_hidden=7, projector_features=4)
    return options.build(Encoder(nn.Linear(6, 5), 5), None).double()


def test_the_method_is_the_loss_of_the_projected_views():
    method, views, ids = linear_method(), (rows(8, 6, seed=1), rows(8, 6, seed=2)), torch.arange(8)
    projected = method.projector(method.encoder(torch.cat(views)))
    step = method(views, Samples(ids))
    assert step.loss.item() == pytest.approx(by_the_equation(projected[:8], projected[8:], 0.0051) / 10, abs=1e-12)
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
    method = BarlowTwinsOptions(projector_hidden=8, projector_features=4).build(
        MLP(hidden=8, features=5).build((1, 3, 3)), None
    )
    views = tuple(rows(6, 1, 3, 3, seed=seed).float() for seed in (1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        step = method(views, Samples(torch.arange(6)))
    assert step.loss.dtype == step.embeddings.dtype == torch.float32
    first, second = step.embeddings.double().chunk(2)
    assert step.loss.item() == pytest.approx(by_the_equation(first, second, 0.0051) / 10, rel=1e-5)
    step.loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.parameters())


def test_the_published_parts_fit_together_and_any_loss_is_refused():
    parts = assemble(TrainingSpec(method="barlow_twins"))
    assert parts.loss is None and parts.views.count == 2 and parts.views.crop_area_min == 0.08
    with pytest.raises(SpecError, match=r"^training\.loss: method 'barlow_twins' has its own objective"):
        assemble(TrainingSpec(method="barlow_twins", loss="info_nce"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"projector_hidden": 0},
        {"projector_features": 1},
        {"redundancy_weight": 0},
        {"redundancy_weight": 1.1},
        {"scale": 0},
        {"scale": 1.1},
        {"temperature": 0.1},
    ],
)
def test_options_out_of_bounds_are_refused_with_their_path(wrong):
    [name] = wrong
    with pytest.raises(SpecError, match=rf"^training\.method_options\.{name}: "):
        METHODS.build("barlow_twins", wrong, field="training.method")
