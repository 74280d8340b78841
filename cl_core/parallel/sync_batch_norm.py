"""Batch normalization over the batch of all workers, also on CPUs, which torch's own does not support."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cl_core.parallel import collectives


class SyncBatchNorm(_BatchNorm):
    """`nn.BatchNorm` with the statistics of all workers' rows together, however unevenly they are shared.

    Source: Ioffe & Szegedy 2015, "Batch normalization", arXiv:1502.03167, Alg. 1. Differences: none; the variance is
    summed about the mean, in a second exchange, so that it does not lose digits.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in torch
        """Normalize (B, C, ...) rows, of which this worker may have none."""
        if not self.training or not self.track_running_stats:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, self.training, eps=self.eps
            )
        rows = input if input.dtype.itemsize >= 4 else input.float()
        over = [dimension for dimension in range(rows.ndim) if dimension != 1]
        shape = [1, -1, *[1] * (rows.ndim - 2)]
        count = collectives.all_reduce_sum(rows.new_tensor(rows.numel() / rows.shape[1]))
        mean = collectives.all_sum(rows.sum(over)) / count
        centered = rows - mean.view(shape)
        variance = collectives.all_sum(centered.square().sum(over)) / count
        self._follow(mean.detach(), variance.detach(), count)
        normalized = centered * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normalized = normalized * self.weight.view(shape) + self.bias.view(shape)
        return normalized.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Update the running statistics as `nn.BatchNorm` does: their variance is the unbiased one."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        assert self.momentum is not None, "a cumulative average is not used here"
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), self.momentum)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        """Accept two or more dimensions."""


def synchronized(module: nn.Module) -> nn.Module:
    """Return the module with every batch norm synchronized over workers; unchanged if there is one worker.

    Parameters and running statistics are the same tensors as before.
    """
    if collectives.world_size() == 1:
        return module
    if isinstance(module, _BatchNorm) and not isinstance(module, SyncBatchNorm):
        return _synchronized_norm(module)
    for name, child in module.named_children():
        setattr(module, name, synchronized(child))
    return module


def _synchronized_norm(norm: _BatchNorm) -> nn.Module:
    if norm.running_mean is not None and norm.running_mean.is_cuda:
        fused: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
        return fused
    replaced = SyncBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    replaced.weight, replaced.bias = norm.weight, norm.bias
    replaced.running_mean, replaced.running_var = norm.running_mean, norm.running_var
    replaced.num_batches_tracked = norm.num_batches_tracked
    return replaced.train(norm.training)
