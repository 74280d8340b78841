"""View policies: how a sample becomes the views that are contrasted. One file each."""

from abc import abstractmethod

from torch import Tensor

from cl_core.columns import SamplePool
from cl_core.modalities._image_processor import ImageProcessor
from cl_core.registry import Component
from cl_core.rng import SampleRng


class ImageViews(Component):
    """A policy that makes views of images."""

    @property
    @abstractmethod
    def count(self) -> int:
        """V, views per sample."""

    @abstractmethod
    def __call__(
        self, images: Tensor, *, rng: SampleRng, processor: ImageProcessor, pool: SamplePool
    ) -> tuple[Tensor, ...]:
        """Make the views of a batch.

        Args:
            images: (B, H, W, C) uint8, C 1 or 3.
            rng: Of these B samples; it decides every draw.
            processor: Gives the side S of the views, in pixels, and normalizes them at last; a policy may make some of
                them smaller.
            pool: The training split, for policies that mix samples.

        Returns:
            V tensors, view v (B, C, S, S) float32 on the images' device, its side at most S. Larger come first.
        """
