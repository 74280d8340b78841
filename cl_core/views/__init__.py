"""View policies: how a sample becomes the views that are contrasted. One file each."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cl_core.registry import Component
from cl_core.rng import uniforms

# A policy draws from one stream per view, numbered from 0; partners are drawn from a stream above them all.
_PARTNER_STREAM = 1 << 15


@dataclass(frozen=True)
class Normalization:
    """The normalization that the encoder expects: per channel, (value / 255 - mean) / std."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class ImageViews(Component):
    """A policy that makes views of images."""

    @property
    @abstractmethod
    def count(self) -> int:
        """V, views per sample."""

    @property
    def partners(self) -> int:
        """P, how many other training samples each view of a sample is mixed with. 0 by default."""
        return 0

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
        partners: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Make the views of a batch.

        Args:
            images: (B, H, W, C) uint8, C 1 or 3.
            sample_ids: (B,) leading 64 bits of each content hash; with seed and epoch they decide every draw.
            seed: Of the run.
            epoch: Of the pass over the data.
            size: Side of the views, in pixels; a policy may make some of them smaller.
            normalization: Applied last.
            partners: (V * P, B, H, W, C) uint8, the training samples at `partner_positions`: rows v * P to
                (v + 1) * P are view v's. None exactly when P is 0.

        Returns:
            V tensors, view v (B, C, S, S) float32 on the images' device, its side S at most `size`. Larger come first.
        """


def partner_positions(
    sample_ids: NDArray[np.uint64], *, seed: int, epoch: int, count: int, size: int
) -> NDArray[np.int64]:
    """Return the training samples that each sample is mixed with: a pure function of seed, epoch and sample.

    Each is drawn from the whole split, all equally likely, whatever the others are. So a sample is its own partner
    once in `size` draws, and mixing then leaves it as it is.

    Args:
        sample_ids: (B,) leading 64 bits of each content hash.
        seed: Of the run.
        epoch: Of the pass over the data.
        count: Partners per sample, over all its views: V * P. The first ones do not depend on it.
        size: Rows of the training split, which is in an order of its own, such as that of the ids.

    Returns:
        (count, B) positions, 0 to size - 1.
    """
    draws = uniforms(seed=seed, epoch=epoch, sample_ids=sample_ids, stream=_PARTNER_STREAM, count=2 * count)
    # A draw has 24 bits: alone it would not reach every row of a split of more than 16 million.
    shares = draws[:, ::2] + draws[:, 1::2] * 2.0**-24
    return (shares.T * size).astype(np.int64)
