"""The usual chain of operations on images, each sample with its own parameters: crop, flip, colours, blur."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cl_core.views.operations.blur import gaussian_blur
from cl_core.views.operations.color import color_jitter
from cl_core.views.operations.crop import resized_crop
from cl_core.views.operations.grayscale import grayscale
from cl_core.views.operations.subset import apply_where_


@dataclass(frozen=True)
class ViewParameters:
    """What is to be done to each sample to make one view: one row per sample, on the host."""

    boxes: Tensor
    """(B, 4) int64: top, left, height, width in pixels."""
    flip: Tensor
    """(B,) bool."""
    jitter: Tensor
    """(B,) bool: whether the colours are jittered at all."""
    brightness: Tensor
    """(B,) float32 factors; so `contrast` and `saturation`."""
    contrast: Tensor
    saturation: Tensor
    hue: Tensor
    """(B,) float32 shifts in turns."""
    order: Tensor
    """(B, 4) int64: the order of the four adjustments above, by number."""
    grayscale: Tensor
    """(B,) bool."""
    blur: Tensor
    """(B,) bool."""
    sigma: Tensor
    """(B,) float32 standard deviations of the blur in pixels."""


def make_view(images: Tensor, parameters: ViewParameters, *, size: int) -> Tensor:
    """One view of each image, as the parameters say; nothing is random here.

    Args:
        images: (B, C, H, W) float32 in [0, 1].
        parameters: Of B samples.
        size: S, side of the view in pixels.

    Returns:
        (B, C, S, S) float32 in [0, 1].

    Source: the order of SimCLR's and MoCo v2's code. Blur is last: before the colours it would be another policy,
    since clamping and hue are not linear.
    """
    p = parameters
    view = color_jitter(
        resized_crop(images, boxes=p.boxes, flip=p.flip, size=size),
        brightness=torch.where(p.jitter, p.brightness, 1.0),
        contrast=torch.where(p.jitter, p.contrast, 1.0),
        saturation=torch.where(p.jitter, p.saturation, 1.0),
        hue=torch.where(p.jitter, p.hue, 0.0),
        order=p.order,
    )
    if view.shape[1] == 3:
        apply_where_(p.grayscale, grayscale, view)
    apply_where_(p.blur, gaussian_blur, view, p.sigma)
    return view
