"""Multinomial logistic regression by L-BFGS, preconditioned for correlated features."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# A fit ends by its tolerance long before.
_MOST_ITERATIONS = 1000


class Probe(NamedTuple):
    """A linear classifier: (C, D) weights and (C,) biases, float32."""

    weights: Tensor
    biases: Tensor

    @classmethod
    def zero(cls, width: int, classes: int) -> "Probe":
        """Return the classifier with equal logits for all classes."""
        return cls(torch.zeros(classes, width), torch.zeros(classes))

    def predict(self, blocks: Iterable[Tensor]) -> NDArray[np.int64]:
        """Return (N,) the class with the greatest logit, for blocks of (n, D) features."""
        return np.concatenate([F.linear(block, *self).argmax(dim=1).numpy() for block in blocks])


def fit_logistic_regression(
    blocks: Iterable[Tensor], targets: Tensor, *, l2: float, start: Probe, curvature: Tensor, tolerance: float
) -> Probe:
    """Minimize the summed cross-entropy + l2 / 2 * squared weights (biases are free).

    L-BFGS moves in coordinates in which the objective curves about alike in all directions, features being anything
    but independent: a half to a third of the iterations.

    Args:
        blocks: Standardized features, (n, D) float32 each, N rows in all; iterated over many times.
        targets: (N,) int64, 0 to C - 1.
        l2: Strength, above 0.
        start: Where L-BFGS begins.
        curvature: (D, D) mean outer product of the features, or of some of them; decides the speed, not the result.
        tolerance: The fit ends when an iteration lowers the objective by less; nats per sample.
    """
    penalty = l2 / len(targets)
    coordinates = _coordinates(curvature, penalty=penalty, classes=len(start.biases))
    step = torch.zeros_like(start.weights, requires_grad=True)
    biases = start.biases.clone().requires_grad_()
    solver = torch.optim.LBFGS(
        [step, biases],
        max_iter=_MOST_ITERATIONS,
        history_size=20,
        tolerance_grad=0,
        tolerance_change=tolerance,
        line_search_fn="strong_wolfe",
    )

    def objective() -> float:
        solver.zero_grad()
        weights = start.weights + step @ coordinates
        probe = Probe(*(part.detach().requires_grad_() for part in (weights, biases)))
        loss = _cross_entropy(probe, blocks, targets)
        regularizer = penalty / 2 * weights.square().sum()
        torch.autograd.backward((regularizer, weights, biases), (None, probe.weights.grad, probe.biases.grad))
        return loss + regularizer.item()

    solver.step(objective)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return Probe(start.weights + step @ coordinates, biases.detach())


def _cross_entropy(probe: Probe, blocks: Iterable[Tensor], targets: Tensor) -> float:
    """Return the mean cross-entropy, and add its gradients to those of the probe; the logits of a block at a time."""
    start, total = 0, 0.0
    for block in blocks:
        answers = targets[start : start + len(block)]
        loss = F.cross_entropy(F.linear(block, *probe), answers, reduction="sum") / len(targets)
        torch.autograd.backward(loss)
        start, total = start + len(block), total + loss.item()
    return total


def _coordinates(curvature: Tensor, *, penalty: float, classes: int) -> Tensor:
    """Return a (D, D) matrix P such that along step @ P the objective has unit curvature at equal logits."""
    # Softmax over C classes that are alike curves by 1 / C.
    hessian = curvature.double() / classes + penalty * torch.eye(len(curvature), dtype=torch.float64)
    root = torch.linalg.cholesky(hessian)
    inverse: Tensor = torch.linalg.solve_triangular(root, torch.eye(len(root), dtype=root.dtype), upper=False)
    return inverse.float()
