"""Every loss and method, small and in float64, on the same data, for worlds of any size.

Apart from the tests: workers import this alone.
"""

from typing import Any

import torch
from torch import Tensor

from cl_core.encoders.mlp import MLP
from cl_core.losses import PairLoss
from cl_core.methods import Method, MethodOptions, Samples, StepInfo
from cl_core.methods._heads import mlp_head
from cl_core.methods._in_batch import InBatch
from cl_core.parallel import collectives
from cl_core.parallel.sync_batch_norm import synchronized
from cl_core.registry import LOSSES, METHODS

ROWS, SIDE, CLASSES, STEPS = 12, 3, 4, 20
LEARNING_RATE, MOMENTUM = 0.02, 0.9

# Small enough that queues wrap, schedules end and prototypes thaw within the twenty steps.
_HEAD = {"projector_hidden": 16, "projector_features": 8}
METHOD_OPTIONS: dict[str, dict[str, Any]] = {
    "barlow_twins": {**_HEAD, "scale": 1},
    "moco_v2": {**_HEAD, "queue_size": 31},
    "moco_v3": {**_HEAD, "predictor_hidden": 16},
    "simclr": _HEAD,
    "supcon": _HEAD,
    "dacl": _HEAD,
    "swav": {**_HEAD, "prototypes": 5, "queue_size": 30},
    "vicreg": _HEAD,
}
VIEWS = {"facenet": 1}


def views_and_samples(step: int, count: int) -> tuple[Tensor, Samples]:
    """(V, 12, 1, 3, 3) views of the whole batch of a step, and who its samples are: four classes and some without."""
    generator = torch.Generator().manual_seed(100 + step)
    first = torch.randn(ROWS, 1, SIDE, SIDE, generator=generator, dtype=torch.float64)
    noise = torch.randn(count, ROWS, 1, SIDE, SIDE, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, CLASSES, (ROWS,), generator=generator)
    ids = 1000 * step + torch.randperm(ROWS, generator=generator)
    return first + 0.3 * noise, Samples(ids, labels, StepInfo(epoch=step // 5, step=step, steps=STEPS))


def share_of(whole: tuple[Tensor, Samples], shares: tuple[int, ...]) -> tuple[tuple[Tensor, ...], Samples]:
    """This worker's part of a batch."""
    views, samples = whole
    start = sum(shares[: collectives.rank()])
    part = slice(start, start + shares[collectives.rank()])
    assert samples.labels is not None
    return tuple(views[:, part]), Samples(samples.ids[part], samples.labels[part], samples.moment)


def method_with_loss(name: str) -> Method:
    """A loss on rows of the batch, classes as groups, without batch norm."""
    loss: PairLoss = LOSSES.build(name, {}, field="training.loss")
    torch.manual_seed(0)
    encoder = MLP(hidden=16, features=8).build((1, SIDE, SIDE))
    return InBatch(encoder, mlp_head([8, 4]), loss, by_label=True)


def method_by_name(name: str) -> tuple[Method, int]:
    """A method with its paper's loss, batch norm in encoder and heads, and how many views it takes."""
    options: MethodOptions = METHODS.build(name, METHOD_OPTIONS.get(name, {}), field="training.method")
    published = options.paper_loss
    loss = LOSSES.build(published.name, published.options, field="training.loss") if published else None
    torch.manual_seed(0)
    encoder = MLP(hidden=16, features=8, batch_norm=True).build((1, SIDE, SIDE))
    return options.build(encoder, loss), max(options.view_counts[0], VIEWS.get(name, 2))


def case_of(name: str) -> tuple[Method, int]:
    """`loss/NAME` or `method/NAME`."""
    kind, _, component = name.partition("/")
    return (method_with_loss(component), 2) if kind == "loss" else method_by_name(component)


def names() -> list[str]:
    """All cases."""
    return [*(f"loss/{name}" for name in LOSSES.names()), *(f"method/{name}" for name in METHODS.names())]


def train(name: str, shares: tuple[int, ...]) -> tuple[list[float], dict[str, Tensor], dict[str, Tensor]]:
    """Losses of the whole batch at each step, averaged gradients of the first step, and the state after the last."""
    method, views = case_of(name)
    method = method.double()
    synchronized(method)
    method.train()
    trained = {key: parameter for key, parameter in method.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.SGD(trained.values(), lr=LEARNING_RATE, momentum=MOMENTUM)
    losses, gradients = [], {}
    for step in range(STEPS):
        optimizer.zero_grad()
        own, samples = share_of(views_and_samples(step, views), shares)
        result = method(own, samples)
        result.loss.backward()
        collectives.average_gradients(method.parameters())
        if step == 0:
            gradients = {key: p.grad.clone() for key, p in trained.items() if p.grad is not None}
        method.after_backward(samples.moment)
        optimizer.step()
        method.after_step(samples.moment)
        losses.append(collectives.average(result.loss).item())
    return losses, gradients, {key: value.detach().clone() for key, value in method.state_dict().items()}
