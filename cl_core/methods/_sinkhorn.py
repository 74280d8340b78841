"""Sinkhorn's algorithm: assign rows to prototypes softly, every prototype getting an equal part of all rows."""

import torch
from torch import Tensor

from cl_core.losses import at_least_float32
from cl_core.parallel import collectives


@torch.no_grad()
def sinkhorn(scores: Tensor, *, epsilon: float, iterations: int) -> Tensor:
    """Assign all workers' rows softly to prototypes such that all prototypes get nearly equal parts.

    Args:
        scores: (B, K) float, this worker's rows against the prototypes: cosines in SwAV. B may differ between workers,
            and be 0.
        epsilon: Weighs the assignments' entropy; above 0, SwAV: 0.05. The smaller, the harder the assignments.
        iterations: How often prototypes, then rows, are given equal weight; SwAV: 3.

    Returns:
        (B, K) float32 (float64 for float64), each row's sum is 1, without gradient: 1 / K everywhere when all rows
        coincide. Over all rows, each prototype's mean tends to 1 / K with the iterations.

    Raises:
        ValueError: When the scores are no matrix.

    Source: Cuturi 2013, "Sinkhorn distances", arXiv:1306.0895, Alg. 1, as in Caron et al. 2020, arXiv:2006.09882,
        Eq. 3-5. Differences: none in value; logarithms are kept, since exp(1 / epsilon) leaves half precision.
    """
    if scores.ndim != 2:
        raise ValueError(f"wanted scores (B, K); got {tuple(scores.shape)}")
    log_assignments = at_least_float32(scores) / epsilon
    for _ in range(iterations):
        log_assignments = log_assignments - _log_sum_over_all_rows(log_assignments)
        log_assignments = log_assignments.log_softmax(dim=1)
    return log_assignments.exp()


def _log_sum_over_all_rows(logits: Tensor) -> Tensor:
    """Return (K,) log-sum-exp over all workers' rows; a worker without rows adds exp of minus infinity."""
    return collectives.all_gather(logits.logsumexp(dim=0, keepdim=True)).logsumexp(dim=0)
