"""SwAV: its published loop written out in float64, its loss against equation and another library, its refusals."""

import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import SwaVLoss
from torch import nn

from cl_core.encoders import Encoder
from cl_core.encoders.mlp import MLP
from cl_core.encoders.resnet_small import ResNetSmall
from cl_core.errors import SpecError
from cl_core.methods import Samples, StepInfo
from cl_core.methods._sinkhorn import sinkhorn
from cl_core.methods.swav import SwAVOptions, prototype_entropy, swapped_prediction
from cl_core.registry import METHODS
from cl_core.specs import ComputeSpec, TrainingSpec
from cl_core.training.components import assemble
from cl_core.training.preflight import check_batches

SAMPLES, SIDES = 6, (8, 8, 5, 5, 5)  # Two full-size views and three small ones.


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def swav(**options):
    """A method in float64 whose encoder takes views of any size."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    small = {"projector_hidden": 7, "projector_features": 4, "prototypes": 5, **options}
    # Prototypes are brought to the sphere where they are made: in float64, not in float32 and then widened.
    torch.set_default_dtype(torch.float64)
    try:
        return SwAVOptions(**small).build(Encoder(network.double(), 5), None).train()
    finally:
        torch.set_default_dtype(torch.float32)


def views_of(step):
    return tuple(rows(SAMPLES, 1, side, side, seed=100 * step + view) for view, side in enumerate(SIDES))


def samples_of(step, *, epoch=0):
    return Samples(torch.arange(SAMPLES) + 10 * step, moment=StepInfo(epoch=epoch, step=step, steps=100))


def codes_by_hand(scores, epsilon=0.05, iterations=3):
    """`distributed_sinkhorn` of the published code: K x B, prototypes, then rows, to equal weight."""
    weight = torch.exp(scores / epsilon).T
    weight /= weight.sum()
    for _ in range(iterations):
        weight /= weight.sum(dim=1, keepdim=True)
        weight /= len(weight)
        weight /= weight.sum(dim=0, keepdim=True)
        weight /= weight.shape[1]
    return (weight * weight.shape[1]).T


def published_loop(method, steps, *, queue_length, epoch_of, queue_epoch, frozen, temperature=0.1):
    """`train` of github.com/facebookresearch/swav/main_swav.py in straight lines, in float64, without workers.

    Returns:
        Loss of each step, and encoder, projector and prototypes after the last, normalized as the next step would.
    """
    encoder, projector, weight = (deepcopy(part) for part in (method.encoder, method.projector, method.prototypes))
    weight = weight.weight
    parameters = [*encoder.parameters(), *projector.parameters(), weight]
    optimizer = torch.optim.SGD(parameters, lr=0.5, momentum=0.9, weight_decay=0.01)
    queue, losses, use_the_queue = None, [], False
    for step in range(steps):
        if queue_length and epoch_of(step) >= queue_epoch and queue is None:
            queue = torch.zeros(2, queue_length, weight.shape[1], dtype=torch.float64)
        with torch.no_grad():
            weight.copy_(F.normalize(weight, dim=1))
        views = views_of(step)
        features = torch.cat([encoder(torch.cat(views[:2])), encoder(torch.cat(views[2:]))])
        embedding = F.normalize(projector(features), dim=1)
        output = embedding @ weight.T
        embedding = embedding.detach()
        bs, loss = SAMPLES, 0
        for crop in (0, 1):
            with torch.no_grad():
                out = output[bs * crop : bs * (crop + 1)].detach()
                if queue is not None:
                    if use_the_queue or not torch.all(queue[crop, -1, :] == 0):
                        use_the_queue = True
                        out = torch.cat((queue[crop] @ weight.T, out))
                    queue[crop, bs:] = queue[crop, :-bs].clone()
                    queue[crop, :bs] = embedding[crop * bs : (crop + 1) * bs]
                codes = codes_by_hand(out)[-bs:]
            subloss = 0
            for v in [v for v in range(len(SIDES)) if v != crop]:
                x = output[bs * v : bs * (v + 1)] / temperature
                subloss -= torch.mean(torch.sum(codes * F.log_softmax(x, dim=1), dim=1))
            loss += subloss / (len(SIDES) - 1)
        loss /= 2
        optimizer.zero_grad()
        loss.backward()
        if epoch_of(step) < frozen:
            weight.grad = None
        optimizer.step()
        losses.append(loss.item())
    state = {**prefixed("encoder", encoder), **prefixed("projector", projector)}
    return losses, {**state, "prototypes.weight": F.normalize(weight.detach(), dim=1)}


def prefixed(name, module):
    return {f"{name}.{key}": value for key, value in module.state_dict().items()}


def trained(method, steps, *, epoch_of, begin=0, optimizer=None):
    """The loop's order of things: step, backward, after_backward, optimizer, after_step."""
    optimizer = optimizer or torch.optim.SGD(method.parameters(), lr=0.5, momentum=0.9, weight_decay=0.01)
    losses = []
    for step in range(begin, begin + steps):
        samples = samples_of(step, epoch=epoch_of(step))
        optimizer.zero_grad()
        loss = method(views_of(step), samples).loss
        loss.backward()
        method.after_backward(samples.moment)
        optimizer.step()
        method.after_step(samples.moment)
        losses.append(loss.item())
    return losses, optimizer


@pytest.mark.parametrize("queue_length", [0, SAMPLES, 2 * SAMPLES])
def test_six_steps_are_those_of_the_published_loop(queue_length):
    """Epochs of two steps: prototypes frozen in the first, the queue from the second, full one or two steps later."""
    method = swav(queue_size=queue_length, queue_start_epoch=1, freeze_epochs=1)
    losses, state = published_loop(
        method, 6, queue_length=queue_length, epoch_of=lambda step: step // 2, queue_epoch=1, frozen=1
    )
    found, _ = trained(method, 6, epoch_of=lambda step: step // 2)
    assert found == pytest.approx(losses, abs=1e-12)
    ours = {key: value for key, value in method.state_dict().items() if not key.startswith("queues.")}
    assert ours.keys() == state.keys()
    for key, value in ours.items():
        torch.testing.assert_close(value, state[key], atol=1e-12, rtol=0)


def test_the_queue_changes_the_assignments():
    """Else the agreement above would say nothing about it."""
    without, _ = trained(swav(), 4, epoch_of=lambda step: step)
    with_queue, _ = trained(swav(queue_size=SAMPLES, queue_start_epoch=1), 4, epoch_of=lambda step: step)
    assert with_queue[:2] == without[:2]
    assert all(abs(a - b) > 1e-4 for a, b in zip(with_queue[2:], without[2:], strict=True))


def by_the_equations(scores, codes, temperature):
    """Eq. 2 of arXiv:2006.09882 for each pair of an assigned and another view, and the mean over pairs and rows."""
    terms = []
    for assigned, code in enumerate(codes):
        for other, view in enumerate(scores):
            if other == assigned:
                continue
            for q, row in zip(code.tolist(), view.tolist(), strict=True):
                total = sum(math.exp(score / temperature) for score in row)
                terms.append(-sum(a * math.log(math.exp(b / temperature) / total) for a, b in zip(q, row, strict=True)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize(("views", "assigned"), [(2, 2), (5, 2), (3, 1)])
def test_the_loss_agrees_with_the_equation(views, assigned, temperature):
    scores = [rows(4, 6, seed=view).tanh() for view in range(views)]
    codes = [rows(4, 6, seed=50 + view).softmax(dim=1) for view in range(assigned)]
    loss = swapped_prediction(scores, codes, temperature=temperature)
    assert loss.mean.item() == pytest.approx(by_the_equations(scores, codes, temperature), abs=1e-12)
    assert loss.count.item() == 4


@pytest.mark.parametrize("queued", [0, 7])
def test_loss_and_gradient_agree_with_lightly(queued):
    scores = [rows(8, 6, seed=view).tanh().requires_grad_() for view in range(5)]
    queue = [rows(queued, 6, seed=90 + view).tanh() for view in range(2)]
    theirs = SwaVLoss(temperature=0.1, sinkhorn_iterations=3, sinkhorn_epsilon=0.05)(
        scores[:2], scores[2:], queue if queued else None
    )
    together = [torch.cat([earlier, view.detach()]) for earlier, view in zip(queue, scores, strict=False)]
    codes = [sinkhorn(view, epsilon=0.05, iterations=3)[queued:] for view in together]
    ours = swapped_prediction(scores, codes, temperature=0.1).mean
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-10)
    for mine, reference in zip(torch.autograd.grad(ours, scores), torch.autograd.grad(theirs, scores), strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-10, rtol=0)


def test_the_gradient_is_that_of_the_value():
    codes = [rows(3, 4, seed=50 + view).softmax(dim=1) for view in range(2)]
    scores = tuple(rows(3, 4, seed=view).requires_grad_() for view in range(3))
    assert torch.autograd.gradcheck(lambda *views: swapped_prediction(views, codes, temperature=0.3).total, scores)


@pytest.mark.parametrize("prototypes", [2, 300])
def test_uniform_assignment_costs_log_k_which_is_the_plateau(prototypes):
    """Prototypes that coincide, and rows that do: neither view tells which prototype the other has."""
    method = swav(prototypes=prototypes)
    with torch.no_grad():
        method.prototypes.weight.copy_(F.normalize(torch.ones(prototypes, 4), dim=1))
    loss = method(views_of(0), samples_of(0)).loss
    assert loss.item() == pytest.approx(math.log(prototypes), abs=1e-12)
    assert method.trivial_losses(SAMPLES) == {"every sample is assigned uniformly": pytest.approx(math.log(prototypes))}


def test_the_loss_of_a_certain_and_correct_prediction_is_zero():
    codes, scores = [torch.eye(4)] * 2, [torch.eye(4)] * 3
    assert swapped_prediction(scores, codes, temperature=0.01).mean.item() == pytest.approx(0, abs=1e-6)


def test_the_position_of_a_sample_in_the_batch_does_not_matter():
    method, order = swav(), torch.tensor([4, 1, 5, 0, 3, 2])
    expected = method(views_of(0), samples_of(0)).loss.item()
    shuffled = tuple(view[order] for view in views_of(0))
    assert method(shuffled, Samples(samples_of(0).ids[order])).loss.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "codes"),
    [
        ([(4, 3)], [(4, 3)]),
        ([(4, 3), (4, 2)], [(4, 3)]),
        ([(4, 3), (4, 3)], [(5, 3)]),
        ([(4,), (4,)], [(4,)]),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_what_came(scores, codes):
    with pytest.raises(ValueError, match=r"wanted scores of at least two views, and codes, \(B, K\) of one shape"):
        swapped_prediction([torch.zeros(s) for s in scores], [torch.zeros(s) for s in codes], temperature=0.1)


def test_embeddings_are_unit_rows_of_the_two_full_size_views_in_order():
    method, views = swav().eval(), views_of(0)
    step = method(views, samples_of(3))
    expected = torch.cat([F.normalize(method.projector(method.encoder(view)), dim=1) for view in views[:2]])
    torch.testing.assert_close(step.embeddings, expected.detach(), atol=1e-12, rtol=0)
    assert step.groups.tolist() == [30, 31, 32, 33, 34, 35] * 2
    assert step.loss.requires_grad and not step.embeddings.requires_grad
    assert [len(part) for part in method.embed(views)] == [SAMPLES] * 5


def test_prototypes_have_length_one_before_the_first_step_and_after_each():
    method = swav(freeze_epochs=0)
    for _ in range(2):
        assert method.prototypes.weight.norm(dim=1).tolist() == pytest.approx([1] * 5, abs=1e-12)
        trained(method, 1, epoch_of=lambda step: 0)


def test_frozen_prototypes_stay_where_they_are_under_momentum_and_weight_decay():
    """A gradient of zero would not hold them: AdamW decays, and momentum goes on."""
    method = swav(freeze_epochs=2)
    begun = method.prototypes.weight.detach().clone()
    optimizer = torch.optim.AdamW(method.parameters(), lr=0.1, weight_decay=0.1)
    trained(method, 2, epoch_of=lambda step: step, optimizer=optimizer)
    torch.testing.assert_close(method.prototypes.weight.detach(), begun, atol=1e-15, rtol=0)
    trained(method, 1, begin=2, epoch_of=lambda step: step, optimizer=optimizer)
    assert (method.prototypes.weight - begun).abs().max() > 0.01


def test_prototype_entropy_counts_the_nearest():
    """Six rows: three, two and one of them nearest to prototypes 0, 3 and 1 of 4."""
    scores = F.one_hot(torch.tensor([0, 3, 0, 1, 3, 0]), 4).double()
    expected = -sum(share * math.log(share) for share in (1 / 2, 1 / 3, 1 / 6))
    assert prototype_entropy(scores).item() == pytest.approx(expected, abs=1e-12)
    assert prototype_entropy(torch.eye(8)).item() == pytest.approx(math.log(8), rel=1e-6)


def test_prototype_entropy_shows_a_collapse_that_the_assignments_hide():
    """Rows that nearly coincide are assigned evenly by force, and yet one prototype is the nearest to all."""
    scores = torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64) + 1e-6 * rows(50, 4)
    shares = sinkhorn(scores, epsilon=0.05, iterations=3).mean(dim=0)
    assert -(shares * shares.log()).sum().item() == pytest.approx(math.log(4), abs=1e-6)
    assert prototype_entropy(scores).item() == 0
    step = swav()(views_of(0), samples_of(0))
    assert step.metrics.keys() == {"prototype_entropy"} and step.metrics["prototype_entropy"].shape == ()


def queued_after(method, steps):
    """What is in the queue after steps, row by row as sorted tuples, and the rows that went by in order."""
    passed = []
    for step in range(steps):
        embedded = method.embed(views_of(step))
        samples = samples_of(step)
        method.contrast(embedded, samples)
        method.after_step(samples.moment)
        passed.append(torch.stack(embedded[:2]).detach())
    return method.queues.rows, torch.cat(passed, dim=1)


@pytest.mark.parametrize("size", [4, 6, 10, 13])
@pytest.mark.parametrize("steps", [1, 3, 4])
def test_the_queue_holds_the_last_rows_whatever_the_batch_divides(size, steps):
    held, passed = queued_after(swav(queue_size=size, queue_start_epoch=0), steps)
    for view in range(2):
        expected = passed[view, -size:].tolist() + [[0.0] * 4] * max(0, size - passed.shape[1])
        assert sorted(held[view].tolist()) == sorted(expected)


def test_rows_enter_the_queue_once_a_step_and_not_before_their_epoch():
    """Two batches whose gradients are accumulated make one step, and both enter."""
    method = swav(queue_size=20, queue_start_epoch=1)
    method(views_of(0), samples_of(0, epoch=0))
    method.after_step(StepInfo(epoch=0))
    assert method.queues.entered.item() == 0
    for batch in (1, 2):
        method(views_of(batch), samples_of(1, epoch=1))
        assert method.queues.entered.item() == 0
    for _ in range(2):
        method.after_step(StepInfo(epoch=1))
        assert method.queues.entered.item() == 2 * SAMPLES


def test_a_training_resumes_from_its_state_dict_bit_for_bit():
    options = {"queue_size": 10, "queue_start_epoch": 0, "freeze_epochs": 0}
    method = swav(**options)
    _, optimizer = trained(method, 3, epoch_of=lambda step: step)
    other = swav(**options)
    other.load_state_dict(method.state_dict())
    fresh = torch.optim.SGD(other.parameters(), lr=0.5, momentum=0.9, weight_decay=0.01)
    fresh.load_state_dict(deepcopy(optimizer.state_dict()))
    losses, _ = trained(method, 3, begin=3, epoch_of=lambda step: step, optimizer=optimizer)
    resumed, _ = trained(other, 3, begin=3, epoch_of=lambda step: step, optimizer=fresh)
    assert resumed == losses
    assert {"queues.rows", "queues.entered", "prototypes.weight"} <= other.state_dict().keys()
    for key, value in method.state_dict().items():
        assert value.equal(other.state_dict()[key]), key
    assert not [key for key in swav().state_dict() if key.startswith("queues")]


def test_under_autocast_and_at_a_temperature_of_a_hundredth_everything_is_finite_float32():
    torch.manual_seed(0)
    encoder = ResNetSmall(stem_width=8, width=8, stages=1).build((1, 16, 16))
    options = SwAVOptions(prototypes=6, projector_hidden=8, temperature=0.01, epsilon=0.01, queue_size=4)
    method = options.build(encoder, None)
    views = tuple(rows(6, 1, side, side, seed=side + view).float() for view, side in enumerate((16, 16, 7, 7)))
    for step in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            result = method(views, samples_of(step, epoch=1))
        assert result.loss.dtype == result.embeddings.dtype == torch.float32
        result.loss.backward()
        method.after_step(StepInfo(epoch=1))
    assert math.isfinite(result.loss.item()) and method.queues.rows.dtype == torch.float32
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.parameters())


def test_bfloat16_embeddings_do_not_blur_the_loss():
    """Scores are taken in float32 from the embeddings: the loss is the float64 one of these to 1e-5."""
    torch.manual_seed(0)
    method = SwAVOptions(prototypes=6, projector_hidden=8).build(MLP(features=5).build((1, 3, 3)), None)
    views = tuple(rows(6, 1, 3, 3, seed=view).float() for view in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        embedded = method.embed(views)
        loss = method.contrast(embedded, samples_of(0)).loss
    scores = [view.double() @ method.prototypes.weight.double().T for view in embedded]
    codes = [codes_by_hand(view) for view in scores[:2]]
    assert loss.item() == pytest.approx(by_the_equations(scores, codes, 0.1), rel=1e-5)


def test_the_published_parts_fit_together_and_any_loss_is_refused():
    parts = assemble(TrainingSpec(method="swav"))
    assert parts.loss is None and parts.views.count == 8
    check_batches(assemble(TrainingSpec(method="swav")), ComputeSpec(), train_rows=1000)
    with pytest.raises(SpecError, match=r"^training\.loss: method 'swav' has its own objective"):
        assemble(TrainingSpec(method="swav", loss="info_nce"))


@pytest.mark.parametrize(("queue_size", "most"), [(0, 256), (44, 300)])
def test_more_prototypes_than_rows_are_refused_with_the_most_that_would_do(queue_size, most):
    def check(prototypes):
        options = {"prototypes": prototypes, "queue_size": queue_size}
        training = TrainingSpec(method="swav", method_options=options, batch_size=256)
        check_batches(assemble(training), ComputeSpec(), train_rows=1000)

    check(most)
    with pytest.raises(SpecError) as caught:
        check(most + 1)
    assert str(caught.value) == (
        f"training.method_options.prototypes: {most + 1} prototypes cannot share {most} rows equally "
        f"(batch_size 256 + queue_size {queue_size}); choose at most {most}, or a larger training.batch_size or "
        "queue_size"
    )


def test_a_start_without_a_queue_is_refused():
    with pytest.raises(SpecError, match=r"^training\.method_options\.queue_start_epoch: got 3, but there is no queue"):
        assemble(TrainingSpec(method="swav", method_options={"queue_start_epoch": 3}))
    assemble(TrainingSpec(method="swav", method_options={"queue_start_epoch": 3, "queue_size": 8}, epochs=4))


def test_prototypes_that_never_move_and_a_queue_that_is_never_used_are_refused():
    def of(epochs: int, **options: int) -> TrainingSpec:
        return TrainingSpec(method="swav", method_options=options, epochs=epochs)

    with pytest.raises(SpecError, match=r"^training\.method_options\.freeze_epochs: .* for 3 epochs .* at most 2, or"):
        assemble(of(3, freeze_epochs=3))
    with pytest.raises(SpecError, match=r"^training\.method_options\.queue_start_epoch: .* epoch 3.* at most 2, or"):
        assemble(of(3, queue_size=8, queue_start_epoch=3))
    assemble(of(4, freeze_epochs=3, queue_size=8, queue_start_epoch=3))


def test_a_queue_that_would_hold_the_data_twice_is_refused():
    options = SwAVOptions(queue_size=1001)
    with pytest.raises(SpecError, match=r"^training\.method_options\.queue_size: 1001 rows .*; choose at most 1000$"):
        options.check_data(batch_size=256, train_rows=1000)
    options.check_data(batch_size=256, train_rows=1001)


@pytest.mark.parametrize(
    "wrong",
    [
        {"projector_hidden": -1},
        {"projector_features": 1},
        {"prototypes": 1},
        {"temperature": 0},
        {"epsilon": 0},
        {"sinkhorn_iterations": 0},
        {"freeze_epochs": -1},
        {"queue_size": -1},
        {"queue_start_epoch": -1},
        {"queue": 8},
    ],
)
def test_options_out_of_bounds_are_refused_with_their_path(wrong):
    [name] = wrong
    with pytest.raises(SpecError, match=rf"^training\.method_options\.{name}: "):
        METHODS.build("swav", wrong, field="training.method")


def test_without_a_projector_prototypes_have_the_width_of_the_encoder():
    method = swav(projector_hidden=0)
    assert method.prototypes.weight.shape == (5, method.encoder.features)
    assert method.embed(views_of(0))[0].shape == (SAMPLES, method.encoder.features)
