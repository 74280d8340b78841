"""SwAV's multi-crop: two views of most of the image, and several small views of small parts of it."""

from dataclasses import replace

from pydantic import Field

from cl_core.registry import VIEWS
from cl_core.views._chain_views import ChainViews, ViewLaw
from cl_core.views._options import Brightness, Contrast, CropAreaMin, Hue, Saturation

_GLOBAL_CROPS = 2


@VIEWS.register("multi_crop")
class MultiCropViews(ChainViews):
    """Two global crops at full size, then smaller local crops; all with flip, jitter, grayscale and blur.

    Source: Caron et al. 2020, "Unsupervised learning of visual features by contrasting cluster assignments",
    arXiv:2006.09882, Sec. 3.2 and App. A, with the numbers of its published code, github.com/facebookresearch/swav:
    2 x 224 + 6 x 96 pixels. Differences: the blur's kernel is 10 % of each view's side, where the code takes 23 pixels
    at any size.
    """

    crop_area_min: CropAreaMin = 0.14
    brightness: Brightness = 0.8
    contrast: Contrast = 0.8
    saturation: Saturation = 0.8
    hue: Hue = 0.2
    local_count: int = Field(6, ge=1, le=32, title="Local crops")
    """L, local crops besides the two global ones. Paper: 6. Crops."""
    local_share: float = Field(3 / 7, ge=0.25, le=1, title="Local crop side")
    """Side of a local crop's view, as a share of the full size, rounded to pixels. Paper: 96 of 224 pixels, 3/7; that
    is 12 of 28 and 14 of 32."""
    local_area_min: float = Field(0.05, gt=0, le=1, title="Min. area of a local crop")
    """Minimum area of a local crop, as a share of the image's. Paper: 0.05."""
    local_area_max: float = Field(0.14, gt=0, le=1, title="Max. area of a local crop")
    """Maximum area of a local crop, as a share of the image's. Paper: 0.14."""

    @property
    def count(self) -> int:
        """Two global crops plus the local crops."""
        return _GLOBAL_CROPS + self.local_count

    def law(self, view: int) -> ViewLaw:
        """Return the distribution of a global or a local crop."""
        law = super().law(view)
        if view < _GLOBAL_CROPS:
            return law
        return replace(law, area=(self.local_area_min, self.local_area_max), side=self.local_share)
