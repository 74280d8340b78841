"""What turns cached images into what encoders take. Apart from decoding, whose processes do without torch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ImageProcessor(nn.Module):
    """Turn images as they are cached into what encoders take: normalized channels.

    Args:
        mean: Of the training split's pixels, per channel, in 0..1.
        std: Of the training split's pixels, per channel, in 0..1.
        size: Side of the images, in pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], size: int) -> None:
        super().__init__()
        self.size = size
        self.mean_values = tuple(mean)
        """`mean` as numbers: to read them from a GPU would be to wait for it."""
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Turn (N, H, W, C) uint8 into (N, C, H, W) float32, per channel (value / 255 - mean) / std."""
        return (images.permute(0, 3, 1, 2).to(torch.float32) / 255 - self.mean) / self.std

    def restored(self, views: Tensor) -> Tensor:
        """Return the images of (N, C, H, W) normalized float32, rounded: (N, H, W, C) uint8."""
        return ((views * self.std + self.mean) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)

    def example(self, rows: int) -> Tensor:
        """Return (rows, size, size, C) uint8 noise images, always the same."""
        generator = torch.Generator().manual_seed(0)
        shape = (rows, self.size, self.size, self.mean.shape[1])
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
