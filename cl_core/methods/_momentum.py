"""Networks that follow the trained one as its exponential moving average: key encoders, teachers."""

import copy
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class MomentumNetwork(nn.Module):
    """A copy of a network that moves only as the exponential moving average of it; no gradient reaches it.

    Args:
        network: What is copied.
        averages_statistics: Batch norms of the copy normalize with averages of the network's statistics: what the copy
            makes of a row does not depend on the row's batch. In the first step, before there are any, and otherwise
            always, they normalize in training with the batch's.

    Source: He et al. 2019, "Momentum contrast", arXiv:1911.05722, Eq. 2; averaged statistics: Cai et al. 2021,
        "Exponential moving average normalization for self-supervised and semi-supervised learning", arXiv:2101.08482.
        Differences: the averages begin with the statistics of the first step. Mean 0 and variance 1, with which running
        statistics start, do not describe the data, and training collapses on keys that are made with them.
    """

    has_followed: Tensor

    def __init__(self, network: nn.Module, *, averages_statistics: bool) -> None:
        super().__init__()
        self.averages_statistics = averages_statistics
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("has_followed", torch.tensor(False))
        self.register_load_state_dict_post_hook(_back_to_its_mode)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever is asked, once there are averaged statistics."""
        return super().train(mode and not (self.averages_statistics and bool(self.has_followed)))

    @torch.no_grad()
    def forward(self, rows: Tensor) -> Tensor:
        """Apply the network to the rows, without gradient."""
        made: Tensor = self.network(rows)
        return made

    @torch.no_grad()
    def follow(self, network: nn.Module, *, momentum: float) -> None:
        """Move to momentum * own + (1 - momentum) * the network's weights, and likewise its statistics.

        Args:
            network: The one that was copied, a step later.
            momentum: 0 to 1.
        """
        for own, followed in zip(self.network.parameters(), network.parameters(), strict=True):
            _follow(own, followed, momentum)
        if self.averages_statistics:
            of_statistics = momentum * self.has_followed.double()
            for own_part, part in zip(self.network.modules(), network.modules(), strict=True):
                _follow_buffers(own_part, part, of_statistics)
            self.has_followed.fill_(True)
            self.eval()


def _back_to_its_mode(network: nn.Module, _: object) -> None:
    network.train(network.training)


def _follow(own: Tensor, followed: Tensor, momentum: Tensor | float) -> None:
    own.mul_(momentum).add_((1 - momentum) * followed)


def _follow_buffers(own: nn.Module, part: nn.Module, momentum: Tensor) -> None:
    """Average a batch norm's statistics; copy other layers' buffers."""
    if not isinstance(own, _BatchNorm) or not isinstance(part, _BatchNorm) or not own.track_running_stats:
        for buffer, followed in zip(own.buffers(recurse=False), part.buffers(recurse=False), strict=True):
            buffer.copy_(followed)
        return
    mean, variance = batch_statistics(part)
    _follow(own.get_buffer("running_mean"), mean, momentum)
    _follow(own.get_buffer("running_var"), variance, momentum)


def batch_statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return (C,) mean and (C,) variance of the batches a batch norm has seen, weighted toward the latest.

    Running statistics are an average of these and of what they began with, mean 0 and variance 1, whose share is
    (1 - momentum) ** batches. It is taken out, as Adam does: Kingma & Ba 2014, arXiv:1412.6980, Sec. 3.
    """
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    batches = norm.get_buffer("num_batches_tracked")
    assert norm.momentum is not None, "a cumulative average is not used here"
    share = (1 - norm.momentum) ** batches.to(mean.dtype) * (batches > 0)
    return mean / (1 - share), ((variance - share) / (1 - share)).clamp(min=0)
