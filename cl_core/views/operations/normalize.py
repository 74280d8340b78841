"""Normalization: the last operation of every policy."""

from collections.abc import Sequence

import torch
from torch import Tensor


def normalize(images: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (values - mean) / std per channel, in the memory format that convolutions read fastest.

    Args:
        images: (B, C, H, W) float32 in [0, 1].
        mean: C numbers, on the scale of the images.
        std: C numbers above 0, on the same scale.

    Returns:
        (B, C, H, W) float32, channels_last.
    """
    shape = (1, len(mean), 1, 1)
    assert images.shape[1] == len(mean) == len(std), (images.shape, mean, std)
    normalized = torch.empty_like(images, memory_format=torch.channels_last)
    torch.sub(images, images.new_tensor(mean).view(shape), out=normalized)
    return normalized.div_(images.new_tensor(std).view(shape))
