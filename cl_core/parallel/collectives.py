"""The only module that uses torch.distributed: gathering and summing with gradients, exact means over workers.

Without a process group every function is the identity, so that methods read the same for one worker and for many.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    """Return the number of workers that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this worker, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def barrier() -> None:
    """Wait until every worker has called this."""
    if dist.is_initialized():
        dist.barrier()


def all_gather(rows: Tensor) -> Tensor:
    """Return all workers' rows in the order of their ranks; workers may have different numbers of rows.

    Args:
        rows: (B, ...) this worker's rows.

    Returns:
        (N, ...) everyone's. With gradients: the gradient of a row is summed over the workers that used it, so that
        each worker may score its own anchors only and still learn from being somebody else's candidate.
    """
    if world_size() == 1:
        return rows
    gathered: Tensor = _AllGather.apply(rows)
    return gathered


def all_sum(value: Tensor) -> Tensor:
    """Sum a tensor over all workers, with gradients: a use of the sum on any worker reaches all workers' terms.

    For losses of a statistic of the whole batch (a mean, a variance, a correlation): every worker computes the same
    loss from the same statistic, and averaging their gradients gives the single-process gradient.
    """
    if world_size() == 1:
        return value
    total: Tensor = _AllSum.apply(value)
    return total


def all_reduce_sum(value: Tensor) -> Tensor:
    """Sum a tensor over all workers, without gradient."""
    # A copy: the exchange is in place, and autograd may use the same tensor elsewhere.
    total = value.detach().clone(memory_format=torch.contiguous_format)
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """Return this worker's part of the mean over all workers' terms, scaled such that averaging workers gives it.

    Args:
        total: () sum of this worker's terms, with gradient.
        count: () how many terms it has; workers may differ.

    Returns:
        () total * workers / count over all workers. Averaging gradients over workers, as data parallelism does,
        then gives the gradient of the mean on the whole batch exactly, also for an uneven last batch.
    """
    return total * world_size() / all_reduce_sum(count).clamp(min=1)


def average(value: Tensor) -> Tensor:
    """Average a tensor over all workers, without gradient; for reporting."""
    return all_reduce_sum(value) / world_size()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over workers, in one exchange; parameters without one are left alone.

    Every worker must have the same parameters with gradients. This is what DistributedDataParallel does, but after
    the backward: the backward may then come in parts (accumulated batches, sub-batches, losses with parameters).
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if world_size() == 1 or not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    means = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view(gradient.shape))


class _AllGather(torch.autograd.Function):
    """All-gather of rows; the backward sums every worker's gradient and keeps this worker's slice."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(dist.get_world_size())]
        dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
        counts = [int(size) for size in sizes]
        longest = max(counts)
        # Collectives want equal shapes: rows are padded to the longest share and the padding is cut off again.
        padded = rows.new_zeros((longest, *rows.shape[1:]))
        padded[: len(rows)] = rows
        gathered = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(gathered, padded)
        ctx.start, ctx.size = sum(counts[: dist.get_rank()]), len(rows)
        return torch.cat([share[:count] for share, count in zip(gathered, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return all_reduce_sum(gradients[0])[ctx.start : ctx.start + ctx.size]


class _AllSum(torch.autograd.Function):
    """All-reduce of a sum, forward and backward."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return all_reduce_sum(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return all_reduce_sum(gradients[0])
