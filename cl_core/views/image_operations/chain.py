"""The usual chain of operations on images, each sample with its own parameters, from the crop to the cutout."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from cl_core.views.image_operations.blur import gaussian_blur
from cl_core.views.image_operations.color import color_jitter, grayscale, solarize
from cl_core.views.image_operations.crop import resized_crop
from cl_core.views.image_operations.cutout import cutout
from cl_core.views.image_operations.rotation import quarter_turns, tilt
from cl_core.views.image_operations.subset import apply_where_


@dataclass(frozen=True)
class ViewParameters:
    """The parameters of one view: one row per sample, on the host."""

    boxes: Tensor  # (B, 4) int64: top, left, height, width in pixels.
    flip: Tensor  # (B,) bool.
    turns: Tensor  # (B,) int64: quarter turns, 0 to 3.
    tilt: Tensor  # (B,) float32 angles in degrees; 0 is none.
    jitter: Tensor  # (B,) bool: whether the colors are jittered at all.
    brightness: Tensor  # (B,) float32 factors, as are `contrast` and `saturation`.
    contrast: Tensor
    saturation: Tensor
    hue: Tensor  # (B,) float32 shifts in turns.
    order: Tensor  # (B, 4) int64: the order of the four adjustments above, by number.
    grayscale: Tensor  # (B,) bool.
    blur: Tensor  # (B,) bool.
    sigma: Tensor  # (B,) float32 standard deviations of the blur in pixels.
    solarize: Tensor  # (B,) bool.
    threshold: Tensor  # (B,) float32: the least value that is inverted.
    cutout: Tensor  # (B,) bool.
    holes: Tensor  # (B, 4) int64: top, left, height, width in pixels of the view.


def make_view(images: Tensor, parameters: ViewParameters, *, size: int, fill: Sequence[float]) -> Tensor:
    """Make one view of each image from its parameters; nothing is random here.

    Args:
        images: (B, C, H, W) float32 in [0, 1].
        parameters: Of B samples.
        size: S, side of the view in pixels.
        fill: C values in [0, 1] for what is cut out.

    Returns:
        (B, C, S, S) float32 in [0, 1].

    Source: the order of the code of SimCLR, MoCo v2 and BYOL. Blur follows the colors: before them it would be
    another policy, since clamping and hue are not linear. Rotation follows the crop, as every operation does in
    SimCLR's ablation (Sec. 3.1); the cutout is last, so that nothing changes what it paints.
    """
    p = parameters
    view = resized_crop(images, boxes=p.boxes, flip=p.flip, size=size)
    apply_where_(p.turns != 0, quarter_turns, view, p.turns)
    apply_where_(p.tilt != 0, tilt, view, p.tilt)
    view = color_jitter(
        view,
        brightness=torch.where(p.jitter, p.brightness, 1.0),
        contrast=torch.where(p.jitter, p.contrast, 1.0),
        saturation=torch.where(p.jitter, p.saturation, 1.0),
        hue=torch.where(p.jitter, p.hue, 0.0),
        order=p.order,
    )
    if view.shape[1] == 3:
        apply_where_(p.grayscale, grayscale, view)
    apply_where_(p.blur, gaussian_blur, view, p.sigma)
    apply_where_(p.solarize, solarize, view, p.threshold)
    apply_where_(p.cutout, partial(cutout, fill=fill), view, p.holes)
    return view
