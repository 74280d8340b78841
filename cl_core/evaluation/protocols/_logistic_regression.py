"""Multinomial logistic regression by L-BFGS, preconditioned for correlated features."""

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

    def predict(self, features: Tensor) -> NDArray[np.int64]:
        """Return (N,) the class with the greatest logit."""
        predicted: NDArray[np.int64] = F.linear(features, *self).argmax(dim=1).numpy()
        return predicted


def fit(features: Tensor, targets: Tensor, *, l2: float, start: Probe, curvature: Tensor, tolerance: float) -> Probe:
    """Minimize the summed cross-entropy + l2 / 2 * squared weights (biases are free).

    L-BFGS moves in coordinates in which the objective curves about alike in all directions, features being anything
    but independent: a half to a third of the iterations.

    Args:
        features: (N, D) float32, standardized.
        targets: (N,) int64, 0 to C - 1.
        l2: Strength, above 0.
        start: Where L-BFGS begins.
        curvature: (D, D) mean outer product of the features, or of some of them; decides the speed, not the result.
        tolerance: The fit ends when an iteration lowers the objective by less; nats per sample.
    """
    penalty = l2 / len(features)
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
        loss = F.cross_entropy(F.linear(features, weights, biases), targets) + penalty / 2 * weights.square().sum()
        torch.autograd.backward(loss)
        return loss.item()

    solver.step(objective)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return Probe(start.weights + step @ coordinates, biases.detach())


def _coordinates(curvature: Tensor, *, penalty: float, classes: int) -> Tensor:
    """Return a (D, D) matrix P such that along step @ P the objective has unit curvature at equal logits."""
    # Softmax over C classes that are alike curves by 1 / C.
    hessian = curvature.double() / classes + penalty * torch.eye(len(curvature), dtype=torch.float64)
    root = torch.linalg.cholesky(hessian)
    inverse: Tensor = torch.linalg.solve_triangular(root, torch.eye(len(root), dtype=root.dtype), upper=False)
    return inverse.float()
