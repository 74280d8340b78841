"""MoCo v2: Algorithm 1 of arXiv:1911.05722 written out in plain torch, Eq. 1 by other libraries, and what keys and
queue must not do."""

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
from cl_core.methods._queues import KeyQueue
from cl_core.methods.moco_v2 import MoCoV2, MoCoV2Options, beside_a_queue
from cl_core.registry import LOSSES, METHODS

TEMPERATURE, MOMENTUM, RATE = 0.3, 0.8, 0.5
INPUT, HIDDEN, FEATURES, WIDTH = 6, 8, 5, 4


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moco(*, queue_size=7, symmetric=False, seed=0):
    """A method in float64 with a batch norm in its encoder."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(INPUT, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, FEATURES))
    method = MoCoV2(
        Encoder(network, FEATURES),
        nn.Linear(FEATURES, WIDTH),
        KeyQueue(size=queue_size, features=WIDTH),
        InfoNCE(temperature=TEMPERATURE),
        momentum=MOMENTUM,
        symmetric=symmetric,
    ).double()
    method.queue.keys.copy_(F.normalize(rows(queue_size, WIDTH, seed=9), dim=1))
    return method.train()


def optimizer_of(method):
    return torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=RATE)


def views_of(step, samples=5):
    return tuple(rows(samples, INPUT, seed=10 * step + view + 100) for view in range(2))


def take_step(method, optimizer, views, ids):
    optimizer.zero_grad()
    result = method(views, Samples(ids))
    result.loss.backward()
    optimizer.step()
    method.after_step(StepInfo())
    return result


# --- Algorithm 1, straight

WEIGHTS = [
    f"{layer}.{kind}"
    for layer in ("encoder.network.0", "encoder.network.1", "encoder.network.3", "projector")
    for kind in ("weight", "bias")
]


def forward(weights, views, mean, variance):
    first, norm, second, last = ((weights[2 * layer], weights[2 * layer + 1]) for layer in range(4))
    hidden = views @ first[0].T + first[1]
    if mean is None:
        mean, variance = hidden.mean(0), ((hidden - hidden.mean(0)) ** 2).mean(0)
    hidden = (hidden - mean) / (variance + 1e-5).sqrt() * norm[0] + norm[1]
    made = (hidden.clamp(min=0) @ second[0].T + second[1]) @ last[0].T + last[1]
    return made / (made * made).sum(1, keepdim=True).sqrt()


def eq_1(queries, keys, ids, queue):
    """Each query's cross-entropy, one at a time."""
    losses = []
    for query, key, sample in zip(queries, keys, ids.tolist(), strict=True):
        others = [queued for queued, of in queue if of != sample]
        logits = torch.stack([query @ key, *(query @ queued for queued in others)]) / TEMPERATURE
        losses.append(F.cross_entropy(logits[None], torch.tensor([0])))
    return losses


def algorithm_1(method, batches, *, symmetric):
    """Losses, weights of f_q, weights and statistics of f_k, and queue, after plain steps of SGD."""
    state = method.state_dict()
    weights = [state[name].clone().requires_grad_() for name in WEIGHTS]
    of_keys = [weight.detach().clone() for weight in weights]
    mean, variance = None, None
    queue = [(key, None) for key in method.queue.keys.clone()]
    place, seen, losses = 0, [], []
    for (first, second), ids in batches:
        directions = [(first, second), (second, first)] if symmetric else [(first, second)]
        terms, entering = [], {}
        for query_views, key_views in directions:
            hidden = (query_views @ weights[0].T + weights[1]).detach()
            seen.append((hidden.mean(0), hidden.var(0)))
            keys = forward(of_keys, key_views, mean, variance)
            terms += eq_1(forward(weights, query_views, None, None), keys, ids, queue)
            entering[id(key_views)] = keys
        loss = sum(terms) / len(terms)
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, gradient, of_key in zip(weights, gradients, of_keys, strict=True):
                weight -= RATE * gradient
                of_key.copy_(MOMENTUM * of_key + (1 - MOMENTUM) * weight)
        # Of the query network's batches the latest weighs most.
        share = [0.9**age for age in reversed(range(len(seen)))]
        now = [sum(w * s[kind] for w, s in zip(share, seen, strict=True)) / sum(share) for kind in (0, 1)]
        if mean is None:
            mean, variance = now
        else:
            mean, variance = (MOMENTUM * own + (1 - MOMENTUM) * n for own, n in zip((mean, variance), now, strict=True))
        for i, sample in enumerate(ids.tolist()):
            for key_views in (first, second):
                if id(key_views) in entering:
                    queue[place % len(queue)] = (entering[id(key_views)][i].detach(), sample)
                    place += 1
    return losses, weights, of_keys, (mean, variance), queue, place


@pytest.mark.parametrize("symmetric", [False, True])
def test_four_steps_are_those_of_algorithm_1(symmetric):
    """The queue wraps, and samples are met again while a key of theirs is in it."""
    batches = [
        (views_of(0), torch.tensor([4, 8, 15, 16, 23])),
        (views_of(1, 3), torch.tensor([42, 8, 4])),
        (views_of(2, 4), torch.tensor([16, 42, 1, -5])),
        (views_of(3, 2), torch.tensor([1, 2])),
    ]
    method = moco(symmetric=symmetric)
    losses, weights, of_keys, statistics, queue, entered = algorithm_1(method, batches, symmetric=symmetric)
    optimizer = optimizer_of(method)
    begun = copy.deepcopy(method.state_dict())
    found = [take_step(method, optimizer, *batch).loss.item() for batch in batches]
    assert found == pytest.approx(losses, abs=1e-12)
    state = method.state_dict()
    followed = [name.replace("encoder", "0").replace("projector", "1") for name in WEIGHTS]
    for name, following, weight, of_key in zip(WEIGHTS, followed, weights, of_keys, strict=True):
        torch.testing.assert_close(state[name], weight.detach(), atol=1e-12, rtol=0)
        torch.testing.assert_close(state[f"key_network.network.{following}"], of_key, atol=1e-12, rtol=0)
        assert name.endswith("0.bias") or (weight - begun[name]).abs().max() > 1e-3
    norm = method.key_network.network[0].network[1]
    torch.testing.assert_close((norm.running_mean, norm.running_var), statistics, atol=1e-12, rtol=0)
    torch.testing.assert_close(method.queue.keys, torch.stack([key for key, _ in queue]), atol=1e-12, rtol=0)
    assert method.queue.samples.tolist() == [sample for _, sample in queue]
    assert method.queue.entered.item() == entered == (28 if symmetric else 14)


# --- Eq. 1


def loss_and_gradient(method, queries, keys, ids):
    queries = queries.clone().requires_grad_()
    loss = method.contrast((queries, keys), Samples(ids)).loss
    return loss, torch.autograd.grad(loss, queries)[0]


@pytest.mark.parametrize("queue_size", [1, 7, 300])
def test_the_loss_is_another_library_s_with_the_queue_as_negatives(queue_size):
    method = moco(queue_size=queue_size)
    queries, keys = (F.normalize(rows(5, WIDTH, seed=seed), dim=1) for seed in (1, 2))
    loss, gradient = loss_and_gradient(method, queries, keys, torch.arange(5))
    theirs = queries.clone().requires_grad_()
    expected = info_nce_of_another(theirs, keys, method.queue.keys, temperature=TEMPERATURE)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, theirs)[0], atol=1e-12, rtol=0)


def test_keys_of_other_samples_of_the_batch_are_no_candidates():
    method = moco()
    queries, keys = (F.normalize(rows(5, WIDTH, seed=seed), dim=1) for seed in (1, 2))
    _, before = loss_and_gradient(method, queries, keys, torch.arange(5))
    keys[1:] = queries[:1]
    _, after = loss_and_gradient(method, queries, keys, torch.arange(5))
    torch.testing.assert_close(after[0], before[0], atol=1e-15, rtol=0)
    assert (after[1:] - before[1:]).abs().max() > 0.01


def test_a_key_of_the_query_s_own_sample_in_the_queue_is_no_negative():
    # One query beside its key, and a queue of itself and of another at right angles: -log(e^(1/T) / (e^(1/T) + 1)).
    method = moco(queue_size=2)
    method.queue.keys.copy_(torch.eye(WIDTH).double()[:2])
    query = torch.eye(WIDTH).double()[:1]
    method.queue.samples.copy_(torch.tensor([7, 8]))
    loss = method.contrast((query, query), Samples(torch.tensor([7]))).loss
    assert loss.item() == pytest.approx(math.log1p(math.exp(-1 / TEMPERATURE)), rel=1e-12)
    # Of a sample that is not in the queue both are negatives.
    loss = method.contrast((query, query), Samples(torch.tensor([9]))).loss
    assert loss.item() == pytest.approx(math.log(2 + math.exp(-1 / TEMPERATURE)), rel=1e-12)


def test_random_rows_at_the_start_are_negatives_of_every_sample():
    method = moco(queue_size=2)
    query = torch.eye(WIDTH).double()[:1]
    method.queue.keys.copy_(query)
    for sample in (0, -1, 2**63 - 1, -(2**63) + 1):
        loss = method.contrast((query, query), Samples(torch.tensor([sample]))).loss
        assert loss.item() == pytest.approx(math.log(3), rel=1e-12)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("queue_size", [1, 40])
def test_it_is_the_log_of_one_more_than_the_queue_when_everything_coincides(queue_size, symmetric):
    method = moco(queue_size=queue_size, symmetric=symmetric)
    [(meaning, value)] = method.trivial_losses(256).items()
    assert meaning == "every embedding is the same"
    assert value == pytest.approx(math.log(queue_size + 1), rel=1e-6)
    for parameters in (method.projector, method.key_network.network[1]):
        nn.init.zeros_(parameters.weight)
        nn.init.ones_(parameters.bias)
    method.queue.keys.fill_(1)
    assert method(views_of(0), Samples(torch.arange(5))).loss.item() == pytest.approx(value, rel=1e-6)
    method.queue.samples.fill_(0)
    assert method.trivial_losses(256) == {meaning: value}


def test_rows_of_any_order_have_the_same_loss():
    method, (first, second), ids = moco(), views_of(0), torch.tensor([4, 8, 15, 16, 23])
    expected = method((first, second), Samples(ids)).loss.item()
    order = torch.tensor([3, 0, 4, 2, 1])
    found = method((first[order], second[order]), Samples(ids[order])).loss.item()
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_sample_twice_in_a_batch_is_twice_a_positive():
    method, ids = moco(), torch.tensor([3, 3])
    queries, keys = (F.normalize(rows(2, WIDTH, seed=seed), dim=1) for seed in (1, 2))
    logits = torch.cat([queries @ keys.T, queries @ method.queue.keys.T], dim=1) / TEMPERATURE
    expected = (logits.logsumexp(1) - logits[:, :2].mean(1)).mean()
    assert loss_and_gradient(method, queries, keys, ids)[0].item() == pytest.approx(expected.item(), abs=1e-12)


def test_a_key_of_the_same_thing_is_a_positive_in_the_batch_and_no_negative_in_the_queue():
    """Samples 0 and 2 are captions of one picture, of which the queue has another one; so has it of sample 1."""
    method, identities = moco(queue_size=4), [3, 8, 3, 9]
    method.queue.samples.copy_(torch.tensor([8, 1, 3, 2]))
    queries, keys = (F.normalize(rows(4, WIDTH, seed=seed), dim=1) for seed in (1, 2))
    samples = Samples(torch.tensor([3, 8, 5, 9]), identities=torch.tensor(identities))
    step = method.contrast((queries, keys), samples)
    terms = []
    for query, identity in zip(queries, identities, strict=True):
        positives = [query @ key for key, of in zip(keys, identities, strict=True) if of == identity]
        others = [query @ key for key, of in zip(method.queue.keys, [8, 1, 3, 2], strict=True) if of != identity]
        logits = torch.stack(positives + others) / TEMPERATURE
        terms += [logits.logsumexp(0) - logits[place] for place in range(len(positives))]
    assert len(terms) == 6 and step.loss.item() == pytest.approx(torch.stack(terms).mean().item(), abs=1e-12)
    assert step.groups.tolist() == identities * 2
    method.after_step(StepInfo())
    assert method.queue.samples.tolist() == identities


LOSSES_AND_OPTIONS = [
    pytest.param(name, options, id=f"{name} {options}")
    for name in LOSSES.names()
    for options in ({}, {"tile": 3})
    if options.keys() <= LOSSES.get(name, field="loss").model_fields.keys()
]


@pytest.mark.parametrize(("name", "options"), LOSSES_AND_OPTIONS)
def test_every_pair_loss_sees_each_query_beside_its_key_and_what_of_the_queue_is_not_its_own(name, options):
    loss = LOSSES.build(name, options, field="training.loss")
    learned = {key: torch.tensor(start, dtype=torch.float64) for key, start in loss.learned_start().items()}
    queries, keys, queue = (F.normalize(rows(count, 4, seed=count), dim=1) for count in (5, 6, 8))
    ids, key_ids, queued = torch.arange(5), torch.arange(6), torch.tensor([0, 9, 3, 8, 3, 11, 12, -1])
    of, among = RowIds(ids, torch.zeros_like(ids), ids), RowIds(key_ids, torch.ones_like(key_ids), key_ids)
    found = loss(queries, torch.cat([keys, queue]), beside_a_queue(of, among, queued), learned)
    total, count = 0.0, 0.0
    for i in range(5):
        others = queue[queued != i]
        own, among = torch.tensor([0]), torch.arange(1 + len(others))
        relation = Relation(RowIds(own, own, own), RowIds(among, torch.ones_like(among), among))
        alone = loss(queries[i : i + 1], torch.cat([keys[i : i + 1], others]), relation, learned)
        total, count = total + alone.total.item(), count + alone.count.item()
    assert found.count.item() == count
    assert found.total.item() == pytest.approx(total, abs=1e-10)


def test_queued_needs_one_value_for_each_candidate():
    ids = RowIds(*(torch.arange(4),) * 3)
    with pytest.raises(ValueError, match=r"wanted queued for each of the 4 candidates; got \(3,\)"):
        InfoNCE()(torch.ones(4, 2), torch.ones(4, 2), Relation(ids, ids, torch.ones(3, dtype=torch.bool)))


# --- both directions


def test_the_symmetric_loss_is_the_mean_of_both_directions():
    first, second = views_of(0)
    ids = torch.arange(5)
    there = moco()((first, second), Samples(ids)).loss.item()
    back = moco()((second, first), Samples(ids)).loss.item()
    both = moco(symmetric=True)((first, second), Samples(ids)).loss.item()
    assert both == pytest.approx((there + back) / 2, abs=1e-12) and there != pytest.approx(back, abs=1e-3)


def test_in_both_directions_keys_enter_after_both_terms_and_once():
    """Entered between the terms, a view would be its own negative."""
    method = moco(queue_size=20, symmetric=True)
    before = method.queue.keys.clone()
    method(views_of(0), Samples(torch.arange(5)))
    assert torch.equal(method.queue.keys, before)
    method.after_step(StepInfo())
    assert method.queue.entered.item() == 10
    assert method.queue.samples[:10].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


# --- the step


def test_accumulated_batches_move_the_key_network_and_the_queue_once_per_step():
    method, other = moco(queue_size=6), moco(queue_size=6)
    keys = [method.key_network(views_of(step)[1]) for step in range(2)]
    queue = method.queue.keys.clone()
    for step in range(2):
        method(views_of(step), Samples(torch.arange(5) + 10 * step)).loss.backward()
        assert torch.equal(method.queue.keys, queue) and method.queue.entered.item() == 0
    optimizer_of(method).step()
    method.after_step(StepInfo())
    assert method.queue.entered.item() == 10
    # Ten keys in six places: the last six of both batches, from place 10 mod 6 on.
    assert method.queue.samples.tolist() == [11, 12, 13, 14, 4, 10]
    last = F.normalize(torch.cat(keys), dim=1)[4:]
    torch.testing.assert_close(method.queue.keys[[4, 5, 0, 1, 2, 3]], last, atol=1e-12, rtol=0)
    expected = MOMENTUM * other.projector.weight + (1 - MOMENTUM) * method.projector.weight
    torch.testing.assert_close(method.key_network.network[1].weight, expected.detach(), atol=1e-12, rtol=0)
    method.after_step(StepInfo())
    assert method.queue.entered.item() == 10


def test_only_encoder_and_projector_learn():
    method = moco()
    trained = {name for name, parameter in method.named_parameters() if parameter.requires_grad}
    assert trained == set(WEIGHTS)
    method(views_of(0), Samples(torch.arange(5))).loss.backward()
    assert all((parameter.grad is not None) == (name in trained) for name, parameter in method.named_parameters())


@pytest.mark.parametrize("symmetric", [False, True])
def test_no_gradient_reaches_keys_or_queue(symmetric):
    """Also not where a batch is embedded in parts, and everything that is embedded asks for its gradient."""
    method = moco(symmetric=symmetric)
    embedded = method.embed(views_of(0))
    queries = len(embedded) // 2
    assert [made.requires_grad for made in embedded] == [True] * queries + [False] * queries
    whole = tuple(made.detach().requires_grad_() for made in embedded)
    method.contrast(whole, Samples(torch.arange(5))).loss.backward()
    assert all(made.grad.abs().max() > 1e-3 for made in whole[:queries])
    assert all(made.grad is None for made in whole[queries:])
    assert not method.queue.keys.requires_grad


def test_a_key_does_not_depend_on_the_rest_of_its_batch_but_a_query_does():
    method = moco()
    take_step(method, optimizer_of(method), views_of(0), torch.arange(5))
    first, second = views_of(1)
    changed = (torch.cat([first[:1], 3 * first[1:]]), torch.cat([second[:1], 3 * second[1:]]))
    (query, key), (other_query, other_key) = method.embed((first, second)), method.embed(changed)
    assert torch.equal(key[0], other_key[0])
    assert (query[0] - other_query[0]).abs().max() > 0.01
    alone = method.key_network(second[:1])
    torch.testing.assert_close(key[0], F.normalize(alone, dim=1)[0], atol=1e-12, rtol=0)


def test_in_training_the_key_network_stays_in_eval_mode_from_the_second_step_on():
    method = moco()
    assert method.key_network.training
    take_step(method, optimizer_of(method), views_of(0), torch.arange(5))
    for trains in (method, method.train(), method.eval().train()):
        assert trains.encoder.training and not any(module.training for module in trains.key_network.modules())


def test_a_resumed_training_continues_exactly():
    method, resumed = moco(), moco(seed=5)
    optimizer = optimizer_of(method)
    for step in range(3):
        take_step(method, optimizer, views_of(step), torch.arange(5) + 3 * step)
    resumed.load_state_dict(copy.deepcopy(method.state_dict()))
    again = optimizer_of(resumed)
    for step in range(3, 6):
        losses = [
            take_step(*pair, views_of(step), torch.arange(5) + 3 * step).loss
            for pair in ((method, optimizer), (resumed, again))
        ]
        assert torch.equal(*losses)
    state = resumed.state_dict()
    assert {"queue.keys", "queue.samples", "queue.entered"} <= state.keys()
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items())


def test_embeddings_are_two_views_of_each_sample_without_gradient():
    ids = torch.tensor([5, 3, 9, 4, 0])
    for symmetric in (False, True):
        method = moco(symmetric=symmetric)
        embedded = method.embed(views_of(0))
        step = method.contrast(embedded, Samples(ids))
        assert torch.equal(step.embeddings, torch.cat(embedded[:2])) and not step.embeddings.requires_grad
        assert step.groups.tolist() == [5, 3, 9, 4, 0] * 2


def test_under_autocast_keys_and_loss_are_float32():
    method = MoCoV2Options(projector_hidden=8, projector_features=4, queue_size=6).build(
        MLP(hidden=8, features=5).build((1, 3, 3)), InfoNCE()
    )
    views = tuple(torch.randn(5, 1, 3, 3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        step = method(views, Samples(torch.arange(5)))
        step.loss.backward()
        method.after_step(StepInfo())
    assert step.loss.dtype == step.embeddings.dtype == method.queue.keys.dtype == torch.float32
    torch.testing.assert_close(method.queue.keys.norm(dim=1), torch.ones(6))


@pytest.mark.integration
def test_within_150_small_steps_queries_find_their_keys_in_the_queue():
    """The statistics that keys are made with must be good from the first step on, without a warm-up of the rate.

    With the statistics that batch norms begin with, this stays at chance.
    """
    torch.manual_seed(0)
    encoder = MLP(hidden=128, features=32, batch_norm=True).build((1, 4, 4))
    method = MoCoV2Options(projector_hidden=128, projector_features=32, queue_size=128).build(encoder, InfoNCE())
    optimizer = torch.optim.SGD([p for p in method.train().parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    data = 5 + 3 * torch.randn(2048, 1, 4, 4, generator=generator)
    found = []
    for _ in range(150):
        ids = torch.randperm(2048, generator=generator)[:32]
        views = tuple(data[ids] + torch.randn(32, 1, 4, 4, generator=generator) for _ in range(2))
        queue = method.queue.keys.clone()
        query, key = take_step(method, optimizer, views, ids).embeddings.chunk(2)
        found.append(((query * key).sum(1) > (query @ queue.T).amax(1)).float().mean())
    early, late = (torch.stack(part).mean().item() for part in (found[5:15], found[-10:]))
    assert early < 0.5 and late > 0.75


# --- options


def test_the_projector_is_linear_relu_linear_and_the_key_network_a_copy():
    encoder = MLP(features=5).build((1, 8, 8))
    method = MoCoV2Options(projector_hidden=7, projector_features=3, queue_size=11).build(encoder, InfoNCE())
    assert method.encoder is encoder
    assert [type(layer) for layer in method.projector] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [tuple(parameter.shape) for parameter in method.projector.parameters()] == [(7, 5), (7,), (3, 7), (3,)]
    assert method.queue.keys.shape == (11, 3)
    pairs = zip(method.key_network.parameters(), [*encoder.parameters(), *method.projector.parameters()], strict=True)
    assert all(torch.equal(key, query) and key is not query for key, query in pairs)


def test_a_queue_of_more_than_a_tenth_of_the_data_is_refused_with_the_largest_that_would_do():
    options = MoCoV2Options(queue_size=4096)
    options.check_data(batch_size=256, train_rows=40_960)
    with pytest.raises(SpecError) as caught:
        options.check_data(batch_size=256, train_rows=40_959)
    assert str(caught.value) == (
        "training.method_options.queue_size: 4096 keys exceed a tenth of the 40959 samples of the training "
        "split: too many of a query's negatives would show what it shows (false negatives); choose at most 4095, or a "
        "method without a queue, such as 'simclr'"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"projector_hidden": 0},
        {"projector_features": 1},
        {"queue_size": 0},
        {"queue_size": 1_048_577},
        {"momentum": 1},
        {"momentum": -0.1},
        {"symmetric": 2},
        {"temperature": 0.1},
    ],
)
def test_options_out_of_bounds_are_refused_with_their_path(wrong):
    [name] = wrong
    with pytest.raises(SpecError, match=rf"^training\.method_options\.{name}: "):
        METHODS.build("moco_v2", wrong, field="training.method")
