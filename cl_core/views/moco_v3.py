"""MoCo v3's augmentation, which is BYOL's: two views with different distributions. Barlow Twins uses it, too."""

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from cl_core.registry import VIEWS
from cl_core.views._chain_views import ChainViews, ViewLaw
from cl_core.views._options import Brightness, Contrast, CropAreaMin, Hue, Saturation


@VIEWS.register("moco_v3")
class MoCoV3Views(ChainViews):
    """Two views: the first always blurred; the second rarely blurred, sometimes solarized.

    Source: Grill et al. 2020, "Bootstrap your own latent", arXiv:2006.07733, App. B; Chen et al. 2021, "An empirical
    study of training self-supervised vision transformers", arXiv:2104.02057, with the numbers of its published code,
    github.com/facebookresearch/moco-v3, where the least crop area is 0.2 for ResNets (`--crop-min=.2` in CONFIG.md;
    0.08, BYOL's, for ViTs). Zbontar et al. 2021, "Barlow Twins", arXiv:2103.03230: the same with 0.08. Differences:
    crops are resized bilinearly, where BYOL and Barlow Twins take cubic splines; the blur's kernel is SimCLR's.
    """

    count: ClassVar[int] = 2

    crop_area_min: CropAreaMin = 0.2
    brightness: Brightness = 0.4
    contrast: Contrast = 0.4
    saturation: Saturation = 0.2
    hue: Hue = 0.1
    blur_probability: float = Field(1.0, ge=0, le=1, title="Blur probability, first view")
    """Probability of a Gaussian blur of the first view; 0 is off. Paper: 1."""
    blur_probability_second: float = Field(0.1, ge=0, le=1, title="Blur probability, second view")
    """Probability of a Gaussian blur of the second view; 0 is off. Paper: 0.1."""
    solarize_probability: float = Field(0.0, ge=0, le=1, title="Solarize probability, first view")
    """Probability of inverting bright values of the first view; 0 is off. Paper: 0."""
    solarize_probability_second: float = Field(0.2, ge=0, le=1, title="Solarize probability, second view")
    """Probability of inverting bright values of the second view; 0 is off. Paper: 0.2."""

    def law(self, view: int) -> ViewLaw:
        """Return the distribution of the first or the second view."""
        first = super().law(view)
        second = replace(first, blur=self.blur_probability_second, solarize=self.solarize_probability_second)
        return (first, second)[view]
