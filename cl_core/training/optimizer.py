"""Optimizers: AdamW and SGD are torch's own; LARS, which torch lacks, is here."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from cl_core.specs import TrainingSpec


def build_optimizer(module: nn.Module, training: TrainingSpec) -> Optimizer:
    """Build the optimizer of a spec; biases and norms (one dimension) are never decayed."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rate, momentum = training.learning_rate, training.momentum
    match training.optimizer:
        # Fused: one pass over all weights, in a third of the time.
        case "adamw":
            return torch.optim.AdamW(groups, lr=rate, betas=(momentum, 0.999), fused=True)
        case "sgd":
            return torch.optim.SGD(groups, lr=rate, momentum=momentum, fused=True)
        case "lars":
            return LARS(groups, lr=rate, momentum=momentum)


class LARS(Optimizer):
    """SGD with momentum that scales each weight matrix's step to the norm of the matrix.

    Source: You et al. 2017, "Large batch training of convolutional networks", arXiv:1708.03888, Alg. 1, in the form
    of Barlow Twins' and MoCo v3's published code: the trust ratio is taken on the decayed gradient, and parameters of
    one dimension (biases, norms) take plain SGD steps.

    Args:
        params: Parameters or groups.
        lr: Rate; multiplies the trust ratio.
        momentum: 0 to 1.
        weight_decay: Added to the gradient before the ratio is taken.
        trust_coefficient: The paper's eta; dimensionless.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        super().__init__(
            params,
            {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust_coefficient": trust_coefficient},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter once."""
        assert closure is None, "LARS takes no closure"
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            gradients = [parameter.grad for parameter in moved]
            matrices = [number for number, parameter in enumerate(moved) if parameter.ndim > 1]
            scaled = self._scaled([moved[n] for n in matrices], [gradients[n] for n in matrices], group)
            for number, gradient in zip(matrices, scaled, strict=True):
                gradients[number] = gradient
            for parameter in moved:
                if "momentum_buffer" not in self.state[parameter]:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            if moved:
                velocities = [self.state[parameter]["momentum_buffer"] for parameter in moved]
                torch._foreach_mul_(velocities, group["momentum"])
                torch._foreach_add_(velocities, gradients)
                torch._foreach_add_(moved, velocities, alpha=-group["lr"])
        return None

    @staticmethod
    def _scaled(matrices: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Return the decayed gradients of weight matrices, scaled to the norms of the matrices."""
        if not matrices:
            return []
        decayed = torch._foreach_add(gradients, matrices, alpha=group["weight_decay"])
        weight_norms = torch.stack(torch._foreach_norm(matrices))
        gradient_norms = torch.stack(torch._foreach_norm(decayed))
        ratios = group["trust_coefficient"] * weight_norms / gradient_norms
        # A zero weight could never leave zero, and a zero gradient has no direction: both take a plain step.
        factors = torch.where((weight_norms > 0) & (gradient_norms > 0), ratios, 1.0)
        torch._foreach_mul_(decayed, factors.unbind())
        return list(decayed)
