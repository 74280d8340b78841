"""Views of vectors with Gaussian noise: what is near is alike."""

from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from cl_core.columns import Batch, SamplePool
from cl_core.modalities._processor import Processor
from cl_core.registry import VIEWS
from cl_core.rng import SampleRng
from cl_core.views import Views


@VIEWS.register("noise")
class NoiseViews(Views):
    """Two views, each the sample with independent Gaussian noise on every value.

    Source: Chen et al. 2020, "A simple framework for contrastive learning of visual representations",
    arXiv:2002.05709, App. A, where it is one of the augmentations. Differences: it is the only one, and in units of the
    standard deviation of each value.
    """

    modalities: ClassVar[tuple[str, ...]] = ("vector",)
    count: ClassVar[int] = 2

    scale: float = Field(0.1, ge=0, le=10)
    """Standard deviation of the noise. Standard deviations of the value in the training split."""
    noisy: Literal["one", "both"] = "both"
    """Views with noise; the other is the sample itself."""

    def __call__(self, rows: Batch, *, rng: SampleRng, processor: Processor, pool: SamplePool) -> tuple[Tensor, ...]:
        """Make the views of a batch; see `Views`."""
        ((_, (values,)),) = processor.arrays
        clean = processor.values(rows)
        views = [clean] * (self.noisy == "one")
        for view in range(self.count - len(views)):
            noise = torch.from_numpy(_normals(rng, view, values)).to(clean.device)
            noisy = clean.clone()
            noisy[:, :values] += self.scale * noise
            views.append(noisy)
        return tuple(map(processor.view, views))


def _normals(rng: SampleRng, view: int, values: int) -> NDArray[np.float32]:
    """Return (B, values) float32 standard normal numbers, by the method of Box and Muller."""
    draws = rng.uniforms(stream=view, count=2 * values)
    # 1 - u is never 0.
    radius = np.sqrt(-2 * np.log(1 - draws[:, ::2]))
    normals: NDArray[np.float32] = (radius * np.cos(2 * np.pi * draws[:, 1::2])).astype(np.float32)
    return normals
