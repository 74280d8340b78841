"""The gradient of a batch: at once, or through sub-batches when its activations do not fit into memory."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from cl_core.methods import Method, Samples, Step

Embed = Callable[[NDArray[np.int64]], tuple[Tensor, ...]]
"""Positions of some samples to what the method embeds them as: twice the same for the same positions."""


def backward(
    method: Method, embed: Embed, parts: Sequence[NDArray[np.int64]], samples: Samples, *, scale: float
) -> Step:
    """Add the gradient of scale * loss of a batch to the parameters' gradients.

    With one part this is the usual backward. With more, the parts are embedded without gradient, the loss of the
    whole batch gives the gradient of each embedding, and the parts are embedded again to carry it on: the gradient
    of the whole batch, at the memory of a part and a forward more. Batch norm then normalizes each part by itself,
    so that with it the objective is that of such a network; its running statistics move once.

    Args:
        method: Its `embed` and `contrast` are the two parts of a step.
        embed: Makes the views of some samples and embeds them.
        parts: Positions of this worker's samples, sub-batch by sub-batch; as many sub-batches on every worker.
        samples: Who they are, in the order of positions.
        scale: Multiplies the loss.

    Source: Gao et al. 2021, "Scaling deep contrastive learning batch size under memory limited setup"
    (GradCache), arXiv:2101.06983, Sec. 3.2.
    """
    if len(parts) == 1:
        step = method.contrast(embed(parts[0]), samples)
        _backward([step.loss * scale])
        return step
    with torch.no_grad(), _running_statistics_held(method):
        embedded = list(map(embed, parts))
    whole = tuple(torch.cat(rows).requires_grad_() for rows in zip(*embedded, strict=True))
    step = method.contrast(whole, samples)
    _backward([step.loss * scale])
    sizes = [len(part) for part in parts]
    gradients = [torch.split(rows.grad, sizes) if rows.grad is not None else [None] * len(parts) for rows in whole]
    for number, part in enumerate(parts):
        of_part = (of_rows[number] for of_rows in gradients)
        # What a method embeds without gradient, such as a momentum encoder's keys, carries none on.
        carried = [
            (rows, gradient)
            for rows, gradient in zip(embed(part), of_part, strict=True)
            if rows.requires_grad and gradient is not None
        ]
        _backward([rows for rows, _ in carried], [gradient for _, gradient in carried])
    return step


def embedding_order(parts: Sequence[NDArray[np.int64]]) -> Sequence[NDArray[np.int64]]:
    """Return the parts in the order in which `backward` has them embedded: one once, several twice."""
    return parts if len(parts) == 1 else [*parts, *parts]


def _backward(roots: list[Tensor], gradients: list[Tensor] | None = None) -> None:
    """Run torch's backward outside autocast: inside, the loss's products would be in half precision."""
    with torch.autocast(roots[0].device.type, enabled=False):
        torch.autograd.backward(roots, gradients)


@contextlib.contextmanager
def _running_statistics_held(method: Method) -> Iterator[None]:
    """Let batch norms use their batch's statistics without updating running statistics."""
    norms = [module for module in method.modules() if isinstance(module, _BatchNorm)]
    saved = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, momentum, batches in saved:
            norm.momentum, norm.num_batches_tracked = momentum, batches
