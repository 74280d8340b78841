"""SimCLR's augmentation: the policy most contrastive methods start from."""

from cl_core.registry import VIEWS
from cl_core.views._chain_views import AlikeViews
from cl_core.views._options import Brightness, Contrast, CropAreaMin, Hue, Saturation


@VIEWS.register("simclr")
class SimCLRViews(AlikeViews):
    """Two views, each: random resized crop, flip, color jitter, grayscale, blur; then normalized.

    Source: Chen et al. 2020, "A simple framework for contrastive learning of visual representations",
    arXiv:2002.05709, App. A. Differences: the default strengths of the jitter are those for small images (there
    s = 0.5, App. B.9), where the paper leaves out the blur; and the blur's kernel has 3 pixels at least.
    """

    crop_area_min: CropAreaMin = 0.08
    brightness: Brightness = 0.4
    contrast: Contrast = 0.4
    saturation: Saturation = 0.4
    hue: Hue = 0.1
