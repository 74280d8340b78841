"""What turns cached images into what encoders take."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cl_core.columns import Batch
from cl_core.modalities import ArraySpec
from cl_core.modalities._processor import Processor


class ImageProcessor(Processor):
    """Turn images as they are cached into what encoders take: normalized channels.

    Args:
        mean: Of the training split's pixels, per channel, in 0..1.
        std: Of the training split's pixels, per channel, in 0..1.
        size: Side of the images, in pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], size: int) -> None:
        super().__init__((ArraySpec("uint8", (size, size, len(mean))),))
        self.size = size
        self.mean_values, self.std_values = tuple(mean), tuple(std)
        """`mean` and `std` as numbers: to read them from a GPU would be to wait for it."""
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1))

    @property
    def view_shape(self) -> tuple[int, ...]:
        """(channels, size, size)."""
        return self.mean.shape[1], self.size, self.size

    def forward(self, rows: Batch) -> Tensor:
        """Turn (N, H, W, C) uint8 into (N, C, H, W) float32, per channel (value / 255 - mean) / std."""
        (images,) = rows
        return (images.permute(0, 3, 1, 2).to(torch.float32) / 255 - self.mean) / self.std

    def values(self, rows: Batch) -> Tensor:
        """Turn (..., H, W, C) uint8 into (..., C, H, W) float32 in 0..1."""
        (images,) = rows
        return (images / 255).movedim(-1, -3)

    def view(self, values: Tensor) -> Tensor:
        """Turn (N, C, H, W) float32 in 0..1 into normalized channels, in the format that convolutions read fastest."""
        assert values.shape[1] == self.mean.shape[1], (values.shape, self.mean.shape)
        normalized = torch.empty_like(values, memory_format=torch.channels_last)
        torch.sub(values, self.mean, out=normalized)
        return normalized.div_(self.std)

    def restored(self, views: Tensor) -> Batch:
        """Return the images of (N, C, H, W) normalized float32, rounded: (N, H, W, C) uint8."""
        return (((views * self.std + self.mean) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1),)
