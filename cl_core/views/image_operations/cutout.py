"""Cutout: a part of the image is hidden."""

from collections.abc import Sequence

import torch
from torch import Tensor


def cutout(images: Tensor, holes: Tensor, *, fill: Sequence[float]) -> Tensor:
    """Paint over a box of each image.

    Args:
        images: (B, C, H, W) float32.
        holes: (B, 4) int64: top, left, height, width in pixels, inside the image.
        fill: C values, on the scale of the images. The mean of the data becomes 0 when the views are normalized.

    Returns:
        (B, C, H, W) float32.

    Source: DeVries & Taylor 2017, "Improved regularization of convolutional neural networks with cutout",
    arXiv:1708.04552, Sec. 3.2. Differences: none, for the mean of the data and the squares of `laws.holes`.
    """
    top, left, height, width = holes.to(images.device)[:, :, None].unbind(1)
    rows = torch.arange(images.shape[2], device=images.device)
    columns = torch.arange(images.shape[3], device=images.device)
    down, across = (rows >= top) & (rows < top + height), (columns >= left) & (columns < left + width)
    hidden = down[:, None, :, None] & across[:, None, None, :]
    return torch.where(hidden, images.new_tensor(fill).view(1, -1, 1, 1), images)
