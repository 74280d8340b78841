"""SimCLR: Algorithm 1 of arXiv:2002.05709, done by hand and by the method."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cl_core.encoders import Encoder
from cl_core.encoders.mlp import MLP
from cl_core.errors import SpecError
from cl_core.losses.info_nce import InfoNCE
from cl_core.methods import Samples
from cl_core.methods._in_batch import InBatch
from cl_core.methods.simclr import SimCLROptions
from cl_core.registry import METHODS

TEMPERATURE = 0.3


def linear(width_in, width_out, seed):
    layer = nn.Linear(width_in, width_out).double()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return layer


@pytest.fixture
def method():
    return InBatch(Encoder(linear(6, 5, seed=1), 5), linear(5, 4, seed=2), InfoNCE(temperature=TEMPERATURE))


def views_of(samples, *, count=2):
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randn(samples, 6, generator=generator, dtype=torch.float64) for _ in range(count))


def by_hand(method, views, ids):
    """Rows in any order, each with the id of its sample: the mean over rows of Eq. 1."""
    rows, ids = torch.cat(views), torch.cat(ids).tolist()
    features = rows @ method.encoder.network.weight.T + method.encoder.network.bias
    embeddings = F.normalize(features @ method.projector.weight.T + method.projector.bias, dim=1).tolist()
    losses = []
    for i, anchor in enumerate(embeddings):
        others = [k for k in range(len(embeddings)) if k != i]
        logit = {k: sum(a * b for a, b in zip(anchor, embeddings[k], strict=True)) / TEMPERATURE for k in others}
        losses += [math.log(sum(map(math.exp, logit.values()))) - logit[k] for k in others if ids[k] == ids[i]]
    return sum(losses) / len(losses)


def test_the_loss_is_that_of_the_projected_views(method):
    views, ids = views_of(7), torch.arange(7)
    loss = method(views, Samples(ids)).loss
    assert loss.item() == pytest.approx(by_hand(method, views, (ids, ids)), abs=1e-12)
    assert loss.shape == ()


def test_four_views_of_a_sample_have_three_positives_each(method):
    views, ids = views_of(3, count=4), torch.arange(3)
    loss = method(views, Samples(ids)).loss
    assert loss.item() == pytest.approx(by_hand(method, views, (ids,) * 4), abs=1e-12)


def test_ids_and_not_positions_decide_what_is_a_positive(method):
    (first, second), ids = views_of(7), torch.tensor([2**62, -5, 0, 9, 4, 3, 1])
    expected = by_hand(method, (first, second), (ids, ids))
    order = torch.tensor([3, 6, 0, 2, 5, 1, 4])
    shuffled = (first[order], second[order])
    assert method(shuffled, Samples(ids[order])).loss.item() == pytest.approx(expected, abs=1e-12)


def test_a_sample_that_occurs_twice_in_a_batch_is_not_its_own_negative(method):
    """By ids rows 0 and 3 are one sample: with positions in their place they would repel each other.

    The same view of the same sample is the row itself, and no candidate of its double either.
    """
    views, ids = views_of(4), torch.tensor([8, 5, 6, 8])
    rows = method.projector(method.encoder(torch.cat(views)))
    similarities = F.normalize(rows, dim=1) @ F.normalize(rows, dim=1).T / TEMPERATURE
    losses = []
    for i in range(8):
        others = [k for k in range(8) if not (ids[k % 4] == ids[i % 4] and k // 4 == i // 4)]
        positives = [k for k in others if ids[k % 4] == ids[i % 4]]
        losses += [torch.logsumexp(similarities[i, others], 0) - similarities[i, k] for k in positives]
    expected = torch.stack(losses).mean().item()
    assert method(views, Samples(ids)).loss.item() == pytest.approx(expected, abs=1e-12)


def test_samples_that_are_the_same_thing_are_positives_of_each_other(method):
    """Samples 0, 3 and 5 are captions of one picture; each row has five positives, and the others one."""
    views, identities = views_of(7), torch.tensor([2**62, 1, 2, 2**62, 4, 2**62, 6])
    found = method(views, Samples(torch.arange(7), identities=identities))
    assert found.loss.item() == pytest.approx(by_hand(method, views, (identities, identities)), abs=1e-12)
    assert found.groups.tolist() == identities.tolist() * 2
    own = method(views, Samples(torch.arange(7), identities=torch.arange(7))).loss
    assert own.equal(method(views, Samples(torch.arange(7))).loss)


def test_the_loss_does_not_depend_on_labels(method):
    views, ids = views_of(7), torch.arange(7)
    losses = [method(views, Samples(ids, labels)).loss for labels in (None, torch.zeros(7, dtype=torch.int64))]
    assert losses[0].equal(losses[1])


def test_embeddings_are_the_projected_views_in_order_and_without_gradient(method):
    views, ids = views_of(3), torch.arange(3)
    step = method(views, Samples(ids))
    expected = torch.cat([method.projector(method.encoder(view)) for view in views])
    torch.testing.assert_close(step.embeddings, expected.detach(), atol=1e-12, rtol=0)
    assert not step.embeddings.requires_grad and step.loss.requires_grad


def test_under_autocast_embeddings_and_loss_are_float32():
    method = SimCLROptions(projector_hidden=8, projector_features=4).build(
        MLP(hidden=8, features=5).build((1, 3, 3)), InfoNCE(temperature=TEMPERATURE)
    )
    views = tuple(torch.randn(6, 1, 3, 3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        step = method(views, Samples(torch.arange(6)))
        assert method.projector(method.encoder(views[0])).dtype == torch.bfloat16
    assert step.loss.dtype == step.embeddings.dtype == torch.float32


def test_the_projector_is_linear_batch_norm_relu_linear_of_the_configured_widths():
    encoder = MLP(features=5).build((1, 8, 8))
    projector = SimCLROptions(projector_hidden=7, projector_features=3).build(encoder, InfoNCE()).projector
    assert [type(layer) for layer in projector] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert [tuple(parameter.shape) for parameter in projector.parameters()] == [(7, 5), (7,), (7,), (3, 7), (3,)]


@pytest.mark.parametrize(
    "wrong", [{"projector_hidden": -1}, {"projector_hidden": 65_537}, {"projector_features": 1}, {"hidden": 8}]
)
def test_options_out_of_bounds_are_refused_with_their_path(wrong):
    [name] = wrong
    with pytest.raises(SpecError, match=rf"^training\.method_options\.{name}: "):
        METHODS.build("simclr", wrong, field="training.method")


@pytest.mark.parametrize("bounds", [(1, 2), (65_536, 65_536)])
def test_options_at_their_bounds_are_accepted(bounds):
    hidden, features = bounds
    options = METHODS.build(
        "simclr", {"projector_hidden": hidden, "projector_features": features}, field="training.method"
    )
    assert (options.projector_hidden, options.projector_features) == bounds


def test_without_a_projector_the_features_of_the_encoder_are_contrasted():
    encoder = Encoder(linear(6, 5, seed=1), 5)
    method = SimCLROptions(projector_hidden=0).build(encoder, InfoNCE(temperature=TEMPERATURE))
    views, ids = views_of(7), torch.arange(7)
    with_one = InBatch(encoder, nn.Linear(5, 5, bias=True).double(), InfoNCE(temperature=TEMPERATURE))
    with torch.no_grad():
        with_one.projector.weight.copy_(torch.eye(5))
        with_one.projector.bias.zero_()
    assert method(views, Samples(ids)).loss.item() == pytest.approx(by_hand(with_one, views, (ids, ids)), abs=1e-12)
    assert not list(method.projector.parameters())
