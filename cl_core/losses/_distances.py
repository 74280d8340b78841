"""Distances between anchors and candidates, for the losses that are stated in distances."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Distance = Literal["squared_euclidean", "euclidean", "cosine"]


def distances(anchors: Tensor, candidates: Tensor, *, distance: Distance, normalize: bool) -> Tensor:
    """Return the distance of each anchor to each candidate.

    Args:
        anchors: (A, D) float.
        candidates: (K, D) float.
        distance: ||a - b||^2, ||a - b||, or 1 - cos(a, b).
        normalize: Whether rows are made unit rows first; the cosine does so anyway.

    Returns:
        (A, K) float, not negative but for the cosine's rounding. On unit rows squared Euclidean is twice the cosine's.
        The gradient is finite everywhere: two rows that coincide have no direction, and get 0.
    """
    if normalize or distance == "cosine":
        anchors, candidates = F.normalize(anchors, dim=1), F.normalize(candidates, dim=1)
    if distance == "cosine":
        return 1 - anchors @ candidates.T
    # Distances do not depend on the origin, but the digits of their expansion into squares do: rows that nearly
    # coincide, as in a collapse, or that are far from the origin keep theirs about their mean.
    center = candidates.detach().sum(0) / max(1, len(candidates))
    anchors, candidates = anchors - center, candidates - center
    squared = anchors.square().sum(1)[:, None] + candidates.square().sum(1) - 2 * anchors @ candidates.T
    squared = squared.clamp(min=0)
    if distance == "squared_euclidean":
        return squared
    # The root is infinitely steep at 0, and 0 times infinity is no number: the root is taken elsewhere only.
    coincide = squared == 0
    return squared.masked_fill(coincide, 1).sqrt().masked_fill(coincide, 0)
