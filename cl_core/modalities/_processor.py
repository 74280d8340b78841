"""What turns cached rows into what encoders take. Apart from decoding, whose processes do without torch."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from cl_core.columns import Batch
from cl_core.modalities import Specs


class Processor(nn.Module):
    """Turn rows as they are cached into what encoders take; what it learned from the training split are its buffers.

    It computes in float32, outside autocast, and an exported program holds it.

    Args:
        arrays: A row of the cache: of each column.
    """

    is_symbolic: ClassVar[bool] = False
    """Whether views hold ids, as those of words: then they are not mixed, and only encoders of such ids take them."""

    def __init__(self, arrays: Specs) -> None:
        super().__init__()
        self.arrays = arrays

    def forward(self, rows: Batch) -> Tensor:
        """Turn (N, *row) of each column, as cached, into (N, *view) float32."""
        return self.view(self.values(rows))

    def side(self, number: int) -> "Processor":
        """Return what turns one side of pairs into views; by default it takes every side."""
        del number
        return self

    @property
    @abstractmethod
    def view_shape(self) -> tuple[int, ...]:
        """Shape of a sample as encoders take it."""

    @abstractmethod
    def values(self, rows: Batch) -> Tensor:
        """Turn (..., *row) of each column into (..., *values) float32 that can be mixed with those of other samples."""

    @abstractmethod
    def view(self, values: Tensor) -> Tensor:
        """Turn (N, ...) such numbers into (N, *view) float32, which encoders take."""

    @abstractmethod
    def restored(self, views: Tensor) -> Batch:
        """Return the rows of (N, *view) float32, as they would be cached: the nearest that there are."""

    def example(self, rows: int) -> Batch:
        """Return `rows` rows of noise, always the same, to trace a model with."""
        generator = torch.Generator().manual_seed(0)
        return tuple(_noise(getattr(torch, array.dtype), (rows, *array.shape), generator) for array in self.arrays)


def _noise(dtype: torch.dtype, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if dtype.is_floating_point:
        return torch.randn(shape, dtype=dtype, generator=generator)
    return torch.randint(0, 256, shape, dtype=dtype, generator=generator)


def laid_out(views: Tensor, *, channels_last: bool) -> Tensor:
    """Return views in the memory format that the encoder reads; only those of images, (N, C, H, W), have another."""
    is_image = channels_last and views.dim() == 4
    return views.contiguous(memory_format=torch.channels_last if is_image else torch.contiguous_format)
