"""SimCLR's augmentation: the policy most contrastive methods start from."""

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from cl_core.registry import VIEWS
from cl_core.seeding import uniforms
from cl_core.views import ImageViews, Normalization
from cl_core.views.operations import laws
from cl_core.views.operations.chain import ViewParameters, make_view
from cl_core.views.operations.normalize import normalize

# Every draw owns its column of a sample's uniform numbers, used or not: switching one operation off, or drawing
# another strength, leaves all other draws as they were.
_BOX = slice(0, laws.CROP_DRAWS)
_FLIP, _JITTER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _ORDER, _GRAYSCALE, _BLUR, _SIGMA = range(_BOX.stop, 32)
_DRAWS = 32


@VIEWS.register("simclr")
class SimCLRViews(ImageViews):
    """Two views, each: random resized crop, flip, colour jitter, greyscale, blur; then normalised.

    Source: Chen et al. 2020, "A simple framework for contrastive learning of visual representations",
    arXiv:2002.05709, App. A. Differences: the default strengths of the jitter are those for small images (there
    s = 0.5, App. B.9), where the paper leaves out the blur; and the blur's kernel has 3 pixels at least.
    """

    crop_area_min: float = Field(
        0.08,
        gt=0,
        le=1,
        title="Least crop area",
        description="Least area of a crop, as a share of the image's. 1 takes the whole. Paper: 0.08.",
    )
    crop_area_max: float = Field(
        1.0,
        gt=0,
        le=1,
        title="Greatest crop area",
        description="Greatest area of a crop, as a share of the image's. Paper: 1.",
    )
    crop_ratio_min: float = Field(
        0.75,
        gt=0,
        le=100,
        title="Narrowest crop",
        description="Least width / height of a crop. Dimensionless. Paper: 3/4.",
    )
    crop_ratio_max: float = Field(
        4 / 3,
        gt=0,
        le=100,
        title="Widest crop",
        description="Greatest width / height of a crop. Dimensionless. Paper: 4/3.",
    )
    flip_probability: float = Field(
        0.5,
        ge=0,
        le=1,
        title="Flip probability",
        description="Probability of mirroring left to right; 0 is off. Paper: 0.5.",
    )
    jitter_probability: float = Field(
        0.8,
        ge=0,
        le=1,
        title="Jitter probability",
        description="Probability of jittering the colours at all; 0 is off. Paper: 0.8.",
    )
    brightness: float = Field(
        0.4,
        ge=0,
        le=10,
        title="Brightness strength",
        description="Brightness is scaled by a factor within 1 +- this; 0 is off. Paper: 0.8 s.",
    )
    contrast: float = Field(
        0.4,
        ge=0,
        le=10,
        title="Contrast strength",
        description="Contrast is scaled by a factor within 1 +- this; 0 is off. Paper: 0.8 s.",
    )
    saturation: float = Field(
        0.4,
        ge=0,
        le=10,
        title="Saturation strength",
        description="Saturation is scaled by a factor within 1 +- this; 0 is off. Paper: 0.8 s.",
    )
    hue: float = Field(
        0.1,
        ge=0,
        le=0.5,
        title="Hue strength",
        description="Hue is shifted by up to this, in turns, either way; 0 is off. Paper: 0.2 s.",
    )
    grayscale_probability: float = Field(
        0.2,
        ge=0,
        le=1,
        title="Greyscale probability",
        description="Probability of removing the colours; 0 is off. Paper: 0.2.",
    )
    blur_probability: float = Field(
        0.5,
        ge=0,
        le=1,
        title="Blur probability",
        description="Probability of a Gaussian blur; 0 is off. Paper: 0.5 on ImageNet, 0 on CIFAR-10.",
    )
    blur_sigma_min: float = Field(
        0.1,
        gt=0,
        le=100,
        title="Least blur",
        description="Least standard deviation of the blur, in pixels. Paper: 0.1.",
    )
    blur_sigma_max: float = Field(
        2.0,
        gt=0,
        le=100,
        title="Greatest blur",
        description="Greatest standard deviation of the blur, in pixels. Paper: 2, at 224 pixels.",
    )

    @model_validator(mode="after")
    def _ranges_are_in_order(self) -> Self:
        for name in ("crop_area", "crop_ratio", "blur_sigma"):
            low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if low > high:
                raise ValueError(f"{name}_min is {low:g}, above {name}_max, which is {high:g}; swap or change them")
        return self

    @property
    def count(self) -> int:
        """Two."""
        return 2

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
        """The two views of a batch, (B, C, size, size) each; arguments as in `ImageViews`."""
        _, height, width, _ = images.shape
        pixels = (images / 255).permute(0, 3, 1, 2)
        views = []
        for view in range(self.count):
            draws = uniforms(seed=seed, epoch=epoch, sample_ids=sample_ids, stream=view, count=_DRAWS)
            parameters = self.parameters(draws, height=height, width=width)
            made = make_view(pixels, parameters, size=size)
            views.append(normalize(made, mean=normalization.mean, std=normalization.std))
        return tuple(views)

    def parameters(self, draws: NDArray[np.float64], *, height: int, width: int) -> ViewParameters:
        """What (B, 32) uniform numbers decide for B images of `height` x `width` pixels."""
        area, ratio = (self.crop_area_min, self.crop_area_max), (self.crop_ratio_min, self.crop_ratio_max)
        sigma = laws.between(draws[:, _SIGMA], self.blur_sigma_min, self.blur_sigma_max)
        return ViewParameters(
            boxes=torch.from_numpy(laws.crop_boxes(draws[:, _BOX], height=height, width=width, area=area, ratio=ratio)),
            flip=torch.from_numpy(draws[:, _FLIP] < self.flip_probability),
            jitter=torch.from_numpy(draws[:, _JITTER] < self.jitter_probability),
            brightness=torch.from_numpy(laws.factors(draws[:, _BRIGHTNESS], self.brightness)).float(),
            contrast=torch.from_numpy(laws.factors(draws[:, _CONTRAST], self.contrast)).float(),
            saturation=torch.from_numpy(laws.factors(draws[:, _SATURATION], self.saturation)).float(),
            hue=torch.from_numpy(laws.between(draws[:, _HUE], -self.hue, self.hue)).float(),
            order=torch.from_numpy(laws.orders(draws[:, _ORDER])),
            grayscale=torch.from_numpy(draws[:, _GRAYSCALE] < self.grayscale_probability),
            blur=torch.from_numpy(draws[:, _BLUR] < self.blur_probability),
            sigma=torch.from_numpy(sigma).float(),
        )
