"""MoCo v2's augmentation: SimCLR's, with larger crops and weaker color jitter."""

from cl_core.registry import VIEWS
from cl_core.views._chain_views import AlikeViews
from cl_core.views._options import Brightness, Contrast, CropAreaMin, Hue, Saturation


@VIEWS.register("moco_v2")
class MoCoV2Views(AlikeViews):
    """Two views, each: random resized crop, color jitter, grayscale, blur, flip; then normalized.

    Source: Chen et al. 2020, "Improved baselines with momentum contrastive learning", arXiv:2003.04297, Sec. 3, with
    the numbers of its published code, `--aug-plus` of github.com/facebookresearch/moco. Differences: the flip comes
    first, which is the same but for rounding; the blur's kernel is SimCLR's, 10 % of the side, where the code leaves
    its width to Pillow.
    """

    crop_area_min: CropAreaMin = 0.2
    brightness: Brightness = 0.4
    contrast: Contrast = 0.4
    saturation: Saturation = 0.4
    hue: Hue = 0.1
