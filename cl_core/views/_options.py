"""The options of the usual chain of operations on images.

Options whose value the papers agree on have their default here; the others get it in each policy's own file, through
the annotations at the top.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from cl_core.views import ImageViews

# fmt: off
Operation = Literal[
    "crop", "flip", "rotation", "tilt", "jitter", "brightness", "contrast", "saturation", "hue", "grayscale", "blur",
    "solarize", "cutout",
]
# fmt: on

_CROP_AREA_MIN = (
    "Minimum area of a crop, as a share of the image's. 1 takes the whole image. SimCLR and BYOL: 0.08; MoCo: 0.2; "
    "SwAV, global crops: 0.14."
)
_SCALED = "scaled by a factor within 1 +- this; 0 is off."
_SHIFTED = "shifted by up to this, in turns, either way; 0 is off."


def _strength(name: str, does: str, *, most: float = 10) -> Any:
    return Field(ge=0, le=most, title=f"{name} strength", description=f"{name} is {does}")


CropAreaMin = Annotated[float, Field(gt=0, le=1, title="Min. crop area", description=_CROP_AREA_MIN)]
Brightness = Annotated[float, _strength("Brightness", f"{_SCALED} SimCLR: 0.8 s; MoCo: 0.4; SwAV: 0.8.")]
Contrast = Annotated[float, _strength("Contrast", f"{_SCALED} SimCLR: 0.8 s; MoCo: 0.4; SwAV: 0.8.")]
Saturation = Annotated[
    float, _strength("Saturation", f"{_SCALED} SimCLR: 0.8 s; MoCo v2: 0.4; MoCo v3 and BYOL: 0.2; SwAV: 0.8.")
]
Hue = Annotated[float, _strength("Hue", f"{_SHIFTED} SimCLR: 0.2 s; MoCo: 0.1; SwAV: 0.2.", most=0.5)]


def _in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """Sort and deduplicate: one set of operations has one spelling, hence one digest."""
    return tuple(sorted(set(names)))


class ChainOptions(ImageViews):
    """Probabilities and strengths of the operations, in the order of the chain."""

    crop_area_min: CropAreaMin
    crop_area_max: float = Field(1.0, gt=0, le=1, title="Max. crop area")
    """Maximum area of a crop, as a share of the image's. All papers: 1."""
    crop_ratio_min: float = Field(0.75, gt=0, le=100, title="Min. crop aspect ratio")
    """Minimum width / height of a crop. Dimensionless. All papers: 3/4."""
    crop_ratio_max: float = Field(4 / 3, gt=0, le=100, title="Max. crop aspect ratio")
    """Maximum width / height of a crop. Dimensionless. All papers: 4/3."""
    flip_probability: float = Field(0.5, ge=0, le=1)
    """Probability of mirroring left to right; 0 is off. All papers: 0.5."""
    rotation_probability: float = Field(0.0, ge=0, le=1)
    """Probability of a rotation by 90, 180 or 270 degrees; 0 is off. Only in SimCLR's ablation."""
    tilt_degrees: float = Field(0.0, ge=0, le=180, title="Tilt")
    """Every view is rotated by up to this angle, either way; 0 is off. Degrees. In none of the papers."""
    jitter_probability: float = Field(0.8, ge=0, le=1)
    """Probability of jittering the colors at all; 0 is off. All papers: 0.8."""
    brightness: Brightness
    contrast: Contrast
    saturation: Saturation
    hue: Hue
    grayscale_probability: float = Field(0.2, ge=0, le=1)
    """Probability of removing the colors; 0 is off. All papers: 0.2."""
    blur_probability: float = Field(0.5, ge=0, le=1)
    """Probability of a Gaussian blur; 0 is off. SimCLR: 0.5 on ImageNet, 0 on CIFAR-10; MoCo v2 and SwAV: 0.5."""
    blur_sigma_min: float = Field(0.1, gt=0, le=100, title="Min. blur sigma")
    """Minimum standard deviation of the blur, in pixels. All papers: 0.1."""
    blur_sigma_max: float = Field(2.0, gt=0, le=100, title="Max. blur sigma")
    """Maximum standard deviation of the blur, in pixels. All papers: 2, at 224 pixels."""
    solarize_probability: float = Field(0.0, ge=0, le=1)
    """Probability of inverting bright values; 0 is off. BYOL and MoCo v3: 0.2, in the second view."""
    solarize_threshold: float = Field(0.5, ge=0, le=1)
    """Values from this on are inverted; black is 0, white is 1. BYOL: 0.5."""
    cutout_probability: float = Field(0.0, ge=0, le=1)
    """Probability of filling a square with the data's mean; 0 is off. Only in SimCLR's ablation."""
    cutout_share: float = Field(0.5, gt=0, le=1, title="Cutout side")
    """Side of the square, as a share of the view's. DeVries & Taylor: 0.5 on CIFAR-10, 0.25 on CIFAR-100."""

    without: Annotated[tuple[Operation, ...], AfterValidator(_in_order)] = Field((), title="Disabled operations")
    """Operations to disable, for ablations: crop (a view is then the whole image), flip, rotation, tilt, jitter (or its
    brightness, contrast, saturation, hue), grayscale, blur, solarize, cutout. All other draws stay the same."""

    @model_validator(mode="after")
    def _ranges_are_in_order(self) -> Self:
        for least in type(self).model_fields:
            if least.endswith("_min"):
                greatest = least.removesuffix("_min") + "_max"
                low, high = getattr(self, least), getattr(self, greatest)
                if low > high:
                    raise ValueError(f"{least} is {low:g}, above {greatest}, which is {high:g}; swap or change them")
        return self
