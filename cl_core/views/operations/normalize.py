"""Normalization: the last operation of every policy."""

import torch
from torch import Tensor


def normalize(images: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
    """Return (values - mean) / std per channel, in the memory format that convolutions read fastest.

    Args:
        images: (B, C, H, W) float32 in [0, 1].
        mean: (1, C, 1, 1) float32, on the scale of the images.
        std: (1, C, 1, 1) float32 above 0, on the same scale.

    Returns:
        (B, C, H, W) float32, channels_last.
    """
    assert images.shape[1] == mean.shape[1] == std.shape[1], (images.shape, mean.shape, std.shape)
    normalized = torch.empty_like(images, memory_format=torch.channels_last)
    torch.sub(images, mean, out=normalized)
    return normalized.div_(std)
