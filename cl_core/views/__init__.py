"""View policies: how a sample becomes the views that are contrasted. One file each."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cl_core.registry import Component


@dataclass(frozen=True)
class Normalization:
    """What the encoder expects: per channel, (value / 255 - mean) / std."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class ImageViews(Component):
    """A policy that makes views of images."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Views per sample."""

    @abstractmethod
    def __call__(
        self,
        images: Tensor,
        *,
        sample_ids: NDArray[np.uint64],
        seed: int,
        epoch: int,
        size: int,
        normalization: Normalization,
    ) -> tuple[Tensor, ...]:
        """The views of a batch.

        Args:
            images: (B, H, W, C) uint8, C 1 or 3.
            sample_ids: (B,) leading 64 bits of each content hash; with seed and epoch they decide every draw.
            seed: Of the run.
            epoch: Of the pass over the data.
            size: Side of the views, in pixels.
            normalization: Applied last.

        Returns:
            One tensor per view, each (B, C, size, size) float32 on the images' device.
        """
