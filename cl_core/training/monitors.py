"""What a batch's embeddings say about the health of a training."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_core.geometry import alignment, effective_rank, uniformity


class Health(NamedTuple):
    """Figures of one batch; see `cl_core.training.progress.Progress` for their meaning."""

    accuracy: float
    alignment: float
    uniformity: float
    effective_rank: float


@torch.no_grad()
def health(embeddings: Tensor, *, views: int) -> Health:
    """Figures of a batch's embeddings.

    Args:
        embeddings: (V * B, D) float32, view by view.
        views: V, at least 2.
    """
    unit = F.normalize(embeddings, dim=1)
    first, second = unit.chunk(views)[:2]
    return Health(
        accuracy=contrastive_accuracy(unit, views=views).item(),
        alignment=float(alignment(first, second)),
        uniformity=float(uniformity(first)),
        effective_rank=float(effective_rank(unit)),
    )


def contrastive_accuracy(unit: Tensor, *, views: int) -> Tensor:
    """Share of rows whose most similar other row is a view of the same sample; chance is (V - 1) / (V * B - 1).

    Args:
        unit: (V * B, D) unit rows, view by view.
        views: V.
    """
    samples = torch.arange(len(unit) // views, device=unit.device).repeat(views)
    similarities = (unit @ unit.T).fill_diagonal_(-torch.inf)
    return (samples[similarities.argmax(dim=1)] == samples).float().mean()
