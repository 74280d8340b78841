"""The base of image policies: options and uniform numbers give parameters, from which the chain makes a view."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from cl_core.columns import Batch, SamplePool
from cl_core.modalities._image_processor import ImageProcessor
from cl_core.parallel.compiling import has_triton, why_not_compiled
from cl_core.rng import SampleRng
from cl_core.views._options import ChainOptions, Operation
from cl_core.views.image_operations import distributions
from cl_core.views.image_operations.chain import ViewParameters, make_view

# Every draw owns its column of a sample's uniform numbers, used or not: switching one operation off, or drawing
# another strength, leaves all other draws as they were.
_BOX = slice(0, distributions.CROP_DRAWS)
_FLIP, _JITTER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _ORDER, _GRAYSCALE, _BLUR, _SIGMA = range(_BOX.stop, 32)
_SOLARIZE, _ROTATION, _QUARTERS, _TILT, _CUTOUT = range(32, 37)
_HOLE = slice(37, 39)
DRAWS = 39


@dataclass(frozen=True)
class ViewLaw:
    """What may differ between the views of one sample."""

    area: tuple[float, float]  # Least and greatest area of the crop, as shares of the image's.
    blur: float  # Probability, as is `solarize`.
    solarize: float
    side: float = 1.0  # Of the view, as a share of the full size.


class ChainViews(ChainOptions):
    """Views made by the usual chain: crop, flip, rotation, color, blur, solarize, cutout."""

    def law(self, view: int) -> ViewLaw:
        """Return the distribution of view number `view`; by default all views share one."""
        return ViewLaw(
            area=(self.crop_area_min, self.crop_area_max),
            blur=self.blur_probability,
            solarize=self.solarize_probability,
        )

    def __call__(
        self, rows: Batch, *, rng: SampleRng, processor: ImageProcessor, pool: SamplePool
    ) -> tuple[Tensor, ...]:
        """Make the views of a batch; see `Views`."""
        (images,) = rows
        pixels = (images / 255).permute(0, 3, 1, 2)
        return tuple(
            processor.view(make_view(pixels, parameters, size=side, fill=processor.mean_values))
            for parameters, side in self._drawn(images, rng, processor)
        )

    def why_not_fused(self) -> str:
        """Return why these views are no plain chain, or numba cannot be used; empty where it can."""
        if type(self).__call__ is not ChainViews.__call__:
            return f"view policy {self.registered_name!r} makes its views itself"
        return why_not_compiled()

    def kernel_device(self, device: str) -> str:
        """Return the GPU where Triton has compiled for it, else the CPU; see `Views`."""
        return device if has_triton() else "cpu"

    def fused(self, rows: Batch, *, rng: SampleRng, processor: ImageProcessor, pool: SamplePool) -> tuple[Tensor, ...]:
        """Make the views of a batch in one pass; see `Views`."""
        (images,) = rows
        made = self._drawn(images, rng, processor)
        mean, std = processor.mean_values, processor.std_values
        if images.device.type != "cpu":
            from cl_core.views.image_operations.fused.gpu_views import gpu_views

            return gpu_views(images, made, mean=mean, std=std)
        from cl_core.views.image_operations.fused.fused_views import fused_views

        return fused_views(images, made, mean=mean, std=std, spare=pool.spare)

    def _drawn(self, images: Tensor, rng: SampleRng, processor: ImageProcessor) -> Iterator[tuple[ViewParameters, int]]:
        """Yield the parameters of each view of a batch, and its side in pixels."""
        _, height, width, _ = images.shape
        for view in range(self.count):
            draws = rng.uniforms(stream=view, count=DRAWS)
            side = round(processor.size * self.law(view).side)
            yield self.parameters(draws, view=view, height=height, width=width, size=side), side

    def parameters(
        self, draws: NDArray[np.float64], *, view: int, height: int, width: int, size: int
    ) -> ViewParameters:
        """Turn uniform numbers into the parameters of one view of some samples.

        Args:
            draws: (B, DRAWS) uniform in [0, 1).
            view: Number of the view, from 0.
            height: Of the images, in pixels.
            width: Of the images, in pixels.
            size: Side of the view, in pixels.
        """
        law, of = self.law(view), self._unless_without

        def drawn(column: int, probability: float) -> Tensor:
            return torch.from_numpy(draws[:, column] < probability)

        def factors(column: int, strength: float) -> Tensor:
            return torch.from_numpy(distributions.factors(draws[:, column], strength)).float()

        def between(column: int, low: float, high: float) -> Tensor:
            return torch.from_numpy(distributions.between(draws[:, column], low, high)).float()

        ratio = (self.crop_ratio_min, self.crop_ratio_max)
        boxes = distributions.crop_boxes(draws[:, _BOX], height=height, width=width, area=law.area, ratio=ratio)
        if "crop" in self.without:
            boxes[:] = (0, 0, height, width)
        turned = drawn(_ROTATION, of("rotation", self.rotation_probability))
        degrees, hue = of("tilt", self.tilt_degrees), of("hue", self.hue)
        return ViewParameters(
            boxes=torch.from_numpy(boxes),
            flip=drawn(_FLIP, of("flip", self.flip_probability)),
            turns=turned * torch.from_numpy(distributions.quarters(draws[:, _QUARTERS])),
            tilt=between(_TILT, -degrees, degrees),
            jitter=drawn(_JITTER, of("jitter", self.jitter_probability)),
            brightness=factors(_BRIGHTNESS, of("brightness", self.brightness)),
            contrast=factors(_CONTRAST, of("contrast", self.contrast)),
            saturation=factors(_SATURATION, of("saturation", self.saturation)),
            hue=between(_HUE, -hue, hue),
            order=torch.from_numpy(distributions.orders(draws[:, _ORDER])),
            grayscale=drawn(_GRAYSCALE, of("grayscale", self.grayscale_probability)),
            blur=drawn(_BLUR, of("blur", law.blur)),
            sigma=between(_SIGMA, self.blur_sigma_min, self.blur_sigma_max),
            solarize=drawn(_SOLARIZE, of("solarize", law.solarize)),
            threshold=torch.full((len(draws),), self.solarize_threshold),
            cutout=drawn(_CUTOUT, of("cutout", self.cutout_probability)),
            holes=torch.from_numpy(distributions.holes(draws[:, _HOLE], size=size, share=self.cutout_share)),
        )

    def _unless_without(self, operation: Operation, amount: float) -> float:
        """Return a probability or strength, or 0 if the operation is disabled."""
        return 0.0 if operation in self.without else amount


class AlikeViews(ChainViews):
    """Any number of views with the same distribution."""

    view_count: int = Field(2, ge=1, le=8, title="Views")
    """Views of each sample; the papers contrast 2. A method that learns from labels can use 1. Views."""

    @property
    def count(self) -> int:
        """The option of that name."""
        return self.view_count

    @property
    def single(self) -> Self:
        """The same law, for one view."""
        return self.model_copy(update={"view_count": 1})
