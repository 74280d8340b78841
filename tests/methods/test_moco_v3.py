"""MoCo v3: Algorithm 1 of arXiv:2104.02057 written out in plain torch, its loss by other libraries, its refusals."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from info_nce import info_nce as info_nce_of_another
from torch import nn

from cl_core.encoders import Encoder
from cl_core.encoders.mlp import MLP
from cl_core.errors import SpecError
from cl_core.losses import Relation, RowIds
from cl_core.losses.info_nce import InfoNCE
from cl_core.methods import Samples, StepInfo
from cl_core.methods._heads import mlp_head
from cl_core.methods.moco_v3 import MoCoV3, MoCoV3Options, rising_momentum
from cl_core.registry import LOSSES, METHODS
from cl_core.specs import TrainingSpec
from cl_core.training.components import assemble

TEMPERATURE, MOMENTUM, RATE, STEPS = 0.3, 0.8, 0.1, 4
INPUT, HIDDEN, FEATURES, WIDTH = 6, 8, 5, 4


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moco(*, seed=0, temperature=TEMPERATURE):
    """A method in float64 with batch norm in its encoder and its heads."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(INPUT, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, FEATURES))
    return MoCoV3(
        Encoder(network, FEATURES),
        mlp_head([FEATURES, 7, WIDTH], last_norm=True, last_affine=False),
        mlp_head([WIDTH, 9, WIDTH], last_bias=False),
        InfoNCE(temperature=temperature),
        momentum=MOMENTUM,
    ).double()


def optimizer_of(method):
    return torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=RATE)


def views_of(step, samples=5):
    return tuple(rows(samples, INPUT, seed=10 * step + view + 100) for view in range(2))


def take_step(method, optimizer, step):
    optimizer.zero_grad()
    moment = StepInfo(step=step, steps=STEPS)
    result = method(views_of(step), Samples(torch.arange(5) + 10 * step, moment=moment))
    result.loss.backward()
    optimizer.step()
    method.after_step(moment)
    return result.loss


# --- Algorithm 1, straight


def normalized(made):
    return (made - made.mean(0)) / (((made - made.mean(0)) ** 2).mean(0) + 1e-5).sqrt()


def projected(weights, views):
    made = normalized(views @ weights[0].T + weights[1]) * weights[2] + weights[3]
    made = made.clamp(min=0) @ weights[4].T + weights[5]
    made = normalized(made @ weights[6].T) * weights[7] + weights[8]
    return normalized(made.clamp(min=0) @ weights[9].T)


def predicted(weights, made):
    return (normalized(made @ weights[10].T) * weights[11] + weights[12]).clamp(min=0) @ weights[13].T


def ctr(queries, keys):
    logits = F.normalize(queries, dim=1) @ F.normalize(keys, dim=1).T / TEMPERATURE
    return 2 * TEMPERATURE * F.cross_entropy(logits, torch.arange(len(queries)))


def algorithm_1(method, steps):
    """Losses, weights of f_q and weights of f_k after plain steps of SGD; f_k moves before its keys, as published."""
    weights = [
        parameter.detach().clone().requires_grad_() for parameter in method.parameters() if parameter.requires_grad
    ]
    of_keys, losses = [weight.detach().clone() for weight in weights[:10]], []
    for step in range(steps + 1):
        with torch.no_grad():
            momentum = 1 - 0.5 * (1 + math.cos(math.pi * step / STEPS)) * (1 - MOMENTUM)
            for of_key, weight in zip(of_keys, weights[:10], strict=True):
                of_key.copy_(momentum * of_key + (1 - momentum) * weight)
            if step == steps:
                return losses, weights, of_keys
            first, second = views_of(step)
            first_keys, second_keys = projected(of_keys, first), projected(of_keys, second)
        first_queries, second_queries = (predicted(weights, projected(weights, views)) for views in (first, second))
        loss = ctr(first_queries, second_keys) + ctr(second_queries, first_keys)
        losses.append(loss.item())
        with torch.no_grad():
            for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight -= RATE * gradient
    raise AssertionError


def test_keys_of_the_same_thing_are_positives():
    """Samples 1 and 4 are captions of one picture."""
    queries, keys = ([rows(5, WIDTH, seed=seed + view) for view in range(2)] for seed in (1, 3))
    identities = [0, 7, 2, 3, 7]
    found = moco().contrast((*queries, *keys), Samples(torch.arange(5), identities=torch.tensor(identities))).loss
    terms = []
    for of, against in ((queries[0], keys[1]), (queries[1], keys[0])):
        logits = F.normalize(of, dim=1) @ F.normalize(against, dim=1).T / TEMPERATURE
        pairs = [(i, k) for i in range(5) for k in range(5) if identities[i] == identities[k]]
        terms.append(torch.stack([logits[i].logsumexp(0) - logits[i, k] for i, k in pairs]).mean())
    assert found.item() == pytest.approx(2 * TEMPERATURE * sum(terms).item(), abs=1e-12)


def test_three_steps_are_those_of_algorithm_1():
    method = moco()
    losses, weights, of_keys = algorithm_1(method, 3)
    begun, optimizer = copy.deepcopy(list(method.parameters())), optimizer_of(method)
    assert [take_step(method, optimizer, step).item() for step in range(3)] == pytest.approx(losses, abs=1e-12)
    learned = [parameter for parameter in method.parameters() if parameter.requires_grad]
    for found, weight in zip(learned, weights, strict=True):
        torch.testing.assert_close(found.detach(), weight.detach(), atol=1e-12, rtol=0)
    for found, weight in zip(method.key_network.parameters(), of_keys, strict=True):
        torch.testing.assert_close(found, weight, atol=1e-12, rtol=0)
    # Two biases before batch norms move nothing and are not moved, in either network.
    moved = [(after - before).abs().max() > 1e-3 for before, after in zip(begun, method.parameters(), strict=True)]
    assert moved.count(False) == 4


def test_the_momentum_rises_from_its_start_to_1_along_a_cosine():
    momenta = [rising_momentum(0.99, StepInfo(step=step, steps=100)) for step in range(100)]
    published = [1 - 0.5 * (1 + math.cos(math.pi * step / 100)) * (1 - 0.99) for step in range(101)]
    # The published code moves f_k before a step, which is here after the step before; its first move is of nothing.
    assert momenta == pytest.approx(published[1:], abs=1e-15)
    assert momenta[49] == pytest.approx(0.995, abs=1e-15) and momenta[99] == 1
    assert momenta == sorted(momenta)


# --- the loss


def test_the_loss_is_twice_the_temperature_times_another_library_s_in_both_directions():
    method = moco()
    embedded = tuple(rows(5, WIDTH, seed=seed) for seed in range(4))
    theirs = [queries.clone().requires_grad_() for queries in embedded[:2]]
    expected = (2 * TEMPERATURE) * (
        info_nce_of_another(theirs[0], embedded[3], temperature=TEMPERATURE)
        + info_nce_of_another(theirs[1], embedded[2], temperature=TEMPERATURE)
    )
    ours = [queries.clone().requires_grad_() for queries in embedded[:2]]
    loss = method.contrast((*ours, *embedded[2:]), Samples(torch.arange(5))).loss
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    for mine, reference in zip(torch.autograd.grad(loss, ours), torch.autograd.grad(expected, theirs), strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-12, rtol=0)


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_it_is_four_t_times_the_log_of_the_batch_when_everything_coincides(temperature):
    method = moco(temperature=temperature)
    [(meaning, value)] = method.trivial_losses(6).items()
    assert meaning == "every embedding is the same"
    assert value == pytest.approx(4 * temperature * math.log(6), rel=1e-6)
    embedded = (torch.ones(6, WIDTH),) * 4
    assert method.contrast(embedded, Samples(torch.arange(6))).loss.item() == pytest.approx(value, rel=1e-6)


def test_ids_and_not_positions_decide_what_is_a_positive():
    method, embedded = moco(), tuple(rows(5, WIDTH, seed=seed) for seed in range(4))
    ids = torch.tensor([2**62, -5, 0, 9, 4])
    expected = method.contrast(embedded, Samples(ids)).loss.item()
    order = torch.tensor([3, 0, 4, 2, 1])
    shuffled = tuple(made[order] for made in embedded)
    assert method.contrast(shuffled, Samples(ids[order])).loss.item() == pytest.approx(expected, abs=1e-12)


def test_a_query_is_compared_with_keys_of_the_other_view_only():
    method, embedded = moco(), [rows(5, WIDTH, seed=seed).requires_grad_() for seed in range(2)]
    keys = [rows(5, WIDTH, seed=seed) for seed in (2, 3)]
    before = torch.autograd.grad(method.contrast((*embedded, *keys), Samples(torch.arange(5))).loss, embedded)
    keys[0] = rows(5, WIDTH, seed=4)
    after = torch.autograd.grad(method.contrast((*embedded, *keys), Samples(torch.arange(5))).loss, embedded)
    assert torch.equal(before[0], after[0]) and (before[1] - after[1]).abs().max() > 0.01


# --- the step


def test_only_encoder_projector_and_predictor_learn():
    method = moco()
    method(views_of(0), Samples(torch.arange(5))).loss.backward()
    parts = {name.split(".")[0] for name, parameter in method.named_parameters() if parameter.grad is not None}
    assert parts == {"encoder", "projector", "predictor"}
    assert not any(parameter.requires_grad for parameter in method.key_network.parameters())


def test_no_gradient_reaches_keys():
    """Also not where a batch is embedded in parts, and everything that is embedded asks for its gradient."""
    method = moco()
    embedded = method.embed(views_of(0))
    assert [made.requires_grad for made in embedded] == [True, True, False, False]
    whole = tuple(made.detach().requires_grad_() for made in embedded)
    method.contrast(whole, Samples(torch.arange(5))).loss.backward()
    assert all(made.grad.abs().max() > 1e-3 for made in whole[:2])
    assert all(made.grad is None for made in whole[2:])


def test_the_key_network_normalizes_with_its_batches_and_remembers_its_own():
    method = moco().train()
    first, second = views_of(0)
    _, _, key, _ = method.embed((first, second))
    _, _, changed, _ = method.embed((torch.cat([first[:1], 3 * first[1:]]), second))
    assert (key[0] - changed[0]).abs().max() > 0.01
    norm = method.key_network.network[0].network[1]
    before = norm.running_mean.clone()
    method.after_step(StepInfo(step=0, steps=STEPS))
    assert torch.equal(norm.running_mean, before) and before.abs().max() > 0.01
    assert method.key_network.train().training


def test_each_view_is_normalized_by_itself():
    """The views follow different laws: together, their batch norm would tell one from the other."""
    method, (first, second) = moco(), views_of(0)
    query, _, key, _ = method.embed((first, second))
    other_query, _, other_key, _ = method.embed((first, 3 * second))
    torch.testing.assert_close(query, other_query, atol=1e-12, rtol=0)
    torch.testing.assert_close(key, other_key, atol=1e-12, rtol=0)


def test_embeddings_are_the_queries_of_both_views_without_gradient():
    method, ids = moco(), torch.tensor([5, 3, 9, 4, 0])
    embedded = method.embed(views_of(0))
    step = method.contrast(embedded, Samples(ids))
    assert torch.equal(step.embeddings, torch.cat(embedded[:2])) and not step.embeddings.requires_grad
    assert step.groups.tolist() == [5, 3, 9, 4, 0] * 2


def test_a_resumed_training_continues_exactly():
    method, resumed = moco(), moco(seed=5)
    optimizer = optimizer_of(method)
    for step in range(2):
        take_step(method, optimizer, step)
    resumed.load_state_dict(copy.deepcopy(method.state_dict()))
    again = optimizer_of(resumed)
    for step in range(2, 4):
        assert torch.equal(take_step(method, optimizer, step), take_step(resumed, again, step))
    state = resumed.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items())


def test_under_autocast_embeddings_and_loss_are_float32():
    options = MoCoV3Options(projector_hidden=8, projector_features=4, predictor_hidden=8)
    method = options.build(MLP(hidden=8, features=5).build((1, 3, 3)), InfoNCE())
    views = tuple(torch.randn(5, 1, 3, 3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        step = method(views, Samples(torch.arange(5)))
    step.loss.backward()
    assert step.loss.dtype == step.embeddings.dtype == torch.float32


# --- options


def test_the_heads_are_those_published_for_resnets():
    encoder = MLP(features=5).build((1, 8, 8))
    method = MoCoV3Options(projector_hidden=7, projector_features=3, predictor_hidden=6).build(encoder, InfoNCE())
    assert method.encoder is encoder
    hidden = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in method.projector] == [*hidden, nn.BatchNorm1d]
    assert [type(layer) for layer in method.predictor] == hidden
    assert [tuple(parameter.shape) for parameter in method.projector.parameters()] == [(7, 5), (7,), (7,), (3, 7)]
    assert [tuple(parameter.shape) for parameter in method.predictor.parameters()] == [(6, 3), (6,), (6,), (3, 6)]
    pairs = zip(method.key_network.parameters(), [*encoder.parameters(), *method.projector.parameters()], strict=True)
    assert all(torch.equal(key, query) and key is not query for key, query in pairs)


def relation(samples):
    own = torch.arange(samples)
    return Relation(RowIds(own, torch.zeros_like(own), own), RowIds(own, torch.ones_like(own), own))


@pytest.mark.parametrize("name", ["info_nce", "supcon", "decoupled", "debiased"])
def test_losses_with_a_temperature_are_accepted_and_scaled_by_it(name):
    parts = assemble(TrainingSpec(method="moco_v3", loss=name, loss_options={"temperature": 0.7}))
    method = parts.method.build(MLP(features=5).build((1, 3, 3)), parts.loss)
    embedded = tuple(rows(5, 256, seed=seed).float() for seed in range(4))
    first, second = (
        LOSSES.build(name, {"temperature": 0.7}, field="loss")(queries, keys, relation(5)).mean.item()
        for queries, keys in ((embedded[0], embedded[3]), (embedded[1], embedded[2]))
    )
    found = method.contrast(embedded, Samples(torch.arange(5))).loss.item()
    assert found == pytest.approx(1.4 * (first + second), rel=1e-6)


@pytest.mark.parametrize("name", ["triplet", "pairwise_logistic"])
def test_losses_without_a_temperature_are_refused(name):
    with pytest.raises(SpecError) as caught:
        assemble(TrainingSpec(method="moco_v3", loss=name))
    assert str(caught.value) == (
        "training.loss: method 'moco_v3' multiplies its loss by twice the temperature, and "
        f"{LOSSES.get(name, field='loss').__name__} has none; choose a softmax over cosine similarities, such as "
        "'info_nce'"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"projector_hidden": 0},
        {"projector_features": 1},
        {"predictor_hidden": 0},
        {"momentum": 1},
        {"momentum": -0.1},
        {"temperature": 0.1},
    ],
)
def test_options_out_of_bounds_are_refused_with_their_path(wrong):
    [name] = wrong
    with pytest.raises(SpecError, match=rf"^training\.method_options\.{name}: "):
        METHODS.build("moco_v3", wrong, field="training.method")
