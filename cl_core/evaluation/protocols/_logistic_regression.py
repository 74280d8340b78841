"""Multinomial logistic regression by L-BFGS, preconditioned for features and classes that are anything but independent.

A classifier is a (C, D + 1) matrix in here: the weights of a class, and its bias.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Preconditioner = Callable[[Tensor], Tensor]

# A fit ends by its tolerance long before.
_MOST_ITERATIONS = 1000
# Steps that L-BFGS remembers.
_HISTORY = 20
# Of the decrease that the gradient promises, a step has to bring this share.
_SUFFICIENT = 1e-4
# Shorter steps, as shares of a full one, are lost in rounding.
_SHORTEST = 1e-4
# Times the penalty that the preconditioner has: along directions in which features hardly vary, it is unsure.
_DAMPING = 20
# Rows that are weighted at a time.
_ROWS = 2048


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


class Curvature(NamedTuple):
    """About how the mean cross-entropy curves at some classifier: the Kronecker product of two factors.

    Source: Martens & Grosse 2015, "Optimizing neural networks with Kronecker-factored approximate curvature",
    arXiv:1503.05671, Sec. 3, of one layer. Differences: a sample weighs less in the first factor if its class is sure.
    """

    features: Tensor  # (D, D) mean outer product of the features.
    classes: Tensor  # (C, C) mean covariance of the predicted class.

    @classmethod
    def at(cls, probe: Probe, blocks: Iterable[Tensor]) -> "Curvature":
        """Return the curvature at a classifier on blocks of (n, D) standardized features."""
        classes, width = probe.weights.shape
        features, covariances = torch.zeros(width, width), torch.zeros(classes, classes)
        weight, count = 0.0, 0
        for rows in (part for block in blocks for part in torch.split(block, _ROWS)):
            shares = F.linear(rows, *probe).softmax(dim=1)
            doubts = (1 - shares.square().sum(dim=1, keepdim=True)).clamp(min=1e-6)
            features.addmm_(rows.T, doubts * rows)
            covariances += shares.sum(dim=0).diag() - shares.T @ shares
            weight, count = weight + doubts.sum().item(), count + len(rows)
        return cls(features / weight, covariances / count)

    def preconditioner(self, penalty: float) -> Preconditioner:
        """Return about what the inverse of the Hessian of loss and penalty does to a gradient, (C, D + 1) each."""
        width, classes = len(self.features), len(self.classes)
        typical = max(self.classes.trace().item() / classes, 1e-6)
        of_features = torch.eye(width + 1, dtype=torch.float64)
        of_features[:width, :width] *= _DAMPING * penalty / typical
        of_features[:width, :width] += self.features
        # Adding one number to all logits changes nothing.
        of_classes = self.classes.double() + typical / 100 * torch.eye(classes, dtype=torch.float64)
        left, right = (
            torch.cholesky_inverse(torch.linalg.cholesky(factor)).float() for factor in (of_classes, of_features)
        )
        return lambda gradient: left @ gradient @ right


def fit_logistic_regression(
    blocks: Iterable[Tensor], targets: Tensor, *, l2: float, start: Probe, curvature: Curvature, tolerance: float
) -> Probe:
    """Minimize the summed cross-entropy + l2 / 2 * squared weights (biases are free).

    Args:
        blocks: Standardized features, (n, D) float32 each, N rows in all; iterated over many times.
        targets: (N,) int64, 0 to C - 1.
        l2: Strength, above 0.
        start: Where L-BFGS begins.
        curvature: That of the cross-entropy of these features, or of some of them; decides the speed, not the result.
        tolerance: The fit ends when two iterations in a row lower the objective by less each; nats per sample.
    """
    penalty = l2 / len(targets)

    def objective(point: Tensor) -> tuple[float, Tensor]:
        weights = point[:, :-1]
        loss, gradient = _cross_entropy(point, blocks, targets)
        gradient[:, :-1] += penalty * weights
        return loss + penalty / 2 * _dot(weights, weights), gradient

    point = torch.cat([start.weights, start.biases[:, None]], dim=1)
    point = _minimum(objective, point, curvature.preconditioner(penalty), tolerance)
    return Probe(point[:, :-1].contiguous(), point[:, -1].contiguous())


def _cross_entropy(point: Tensor, blocks: Iterable[Tensor], targets: Tensor) -> tuple[float, Tensor]:
    """Return the mean cross-entropy and its gradient; the logits of a block at a time."""
    columns, biases = point[:, :-1].T.contiguous(), point[:, -1]
    gradient, start, total = torch.zeros_like(point), 0, 0.0
    for block in blocks:
        answers = targets[start : start + len(block), None]
        logits = torch.addmm(biases, block, columns)
        norms = logits.logsumexp(dim=1, keepdim=True)
        total += (norms - logits.gather(1, answers)).sum(dtype=torch.float64).item()
        residuals = logits.sub_(norms).exp_().scatter_add_(1, answers, torch.full_like(norms, -1))
        gradient[:, :-1].addmm_(residuals.T, block)
        gradient[:, -1] += residuals.sum(dim=0)
        start += len(block)
    return total / len(targets), gradient.div_(len(targets))


def _minimum(
    objective: Callable[[Tensor], tuple[float, Tensor]], point: Tensor, precondition: Preconditioner, tolerance: float
) -> Tensor:
    """Return where a convex function is least; see `fit_logistic_regression`.

    Source: Nocedal & Wright 2006, "Numerical optimization", Alg. 7.5. Differences: steps are only shortened, since on a
    convex function each step has positive curvature.
    """
    value, gradient = objective(point)
    history: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=_HISTORY)
    small = 0
    for _ in range(_MOST_ITERATIONS):
        step = _direction(gradient, history, precondition)
        slope = _dot(step, gradient)
        next_value, next_gradient = objective(point + step)
        share = 1.0
        while next_value > value + _SUFFICIENT * share * slope and share > _SHORTEST:
            # To where the parabola through both values is least.
            shorter = -slope * share / (2 * ((next_value - value) / share - slope))
            shortened = min(max(shorter, share / 10), share / 2)
            step, share = step * (shortened / share), shortened
            next_value, next_gradient = objective(point + step)
        if next_value >= value:
            break
        small = small + 1 if value - next_value < tolerance else 0
        change = next_gradient - gradient
        if (curvature := _dot(step, change)) > 0:
            history.append((step, change, curvature))
        point, value, gradient = point + step, next_value, next_gradient
        if small == 2:
            break
    return point


def _direction(gradient: Tensor, history: deque[tuple[Tensor, Tensor, float]], precondition: Preconditioner) -> Tensor:
    """Return the step to where the function would be least if it curved as in the last steps.

    Source: Nocedal & Wright 2006, Alg. 7.4. Differences: none.
    """
    rest, shares = gradient, []
    for step, change, curvature in reversed(history):
        shares.append(_dot(step, rest) / curvature)
        rest = rest - shares[-1] * change
    rest = precondition(rest)
    if history:
        _, change, curvature = history[-1]
        rest *= curvature / _dot(change, precondition(change))
    for (step, change, curvature), share in zip(history, reversed(shares), strict=True):
        rest += (share - _dot(change, rest) / curvature) * step
    return -rest


def _dot(first: Tensor, second: Tensor) -> float:
    return (first * second).sum().item()
