"""What a batch's embeddings say about the health of a training."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_core.geometry import effective_rank, uniformity


class Health(NamedTuple):
    """Figures of one batch; see `cl_core.training.progress.Progress` for their meaning."""

    accuracy: float
    alignment: float
    uniformity: float
    effective_rank: float


@torch.no_grad()
def health(embeddings: Tensor, groups: Tensor) -> Health:
    """Figures of a batch's embeddings.

    Args:
        embeddings: (R, D) float32, at least two rows.
        groups: (R,) int64; rows of one group are what the method wants alike.
    """
    unit = F.normalize(embeddings, dim=1)
    return Health(
        accuracy=contrastive_accuracy(unit, groups).item(),
        alignment=positive_alignment(unit, groups).item(),
        uniformity=float(uniformity(unit)),
        effective_rank=float(effective_rank(unit)),
    )


def contrastive_accuracy(unit: Tensor, groups: Tensor) -> Tensor:
    """Share of rows whose most similar other row is of the same group; of those that have one.

    Args:
        unit: (R, D) unit rows.
        groups: (R,) int64.
    """
    similarities = (unit @ unit.T).fill_diagonal_(-torch.inf)
    return (groups[similarities.argmax(dim=1)] == groups).float().mean()


def positive_alignment(unit: Tensor, groups: Tensor) -> Tensor:
    """Mean squared distance over all pairs of one group; 0 when all coincide, 2 when they are unrelated.

    Args:
        unit: (R, D) unit rows.
        groups: (R,) int64.

    Source: Wang & Isola 2020, arXiv:2005.10242, Eq. 4 with alpha = 2. Differences: none for two views of a sample.
    """
    pairs = (groups[:, None] == groups).fill_diagonal_(False)
    return (2 - 2 * (unit @ unit.T))[pairs].mean().nan_to_num()
