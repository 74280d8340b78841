"""Colors: jitter of brightness, contrast, saturation and hue, grayscale and solarize, each sample for itself.

All follow torchvision's functional forms on float images. With one channel there is no color: saturation and hue
leave such images as they are.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from cl_core.views.image_operations.subset import apply_where_, per_image

_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114  # ITU-R BT.601; torchvision rounds red to 0.2989, so that white darkens


def luma(images: Tensor) -> Tensor:
    """Return the (B, 1, H, W) luma of (B, C, H, W) float32 images; one channel is its own luma."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (red * _RED).add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE).unsqueeze(1)


def grayscale(images: Tensor) -> Tensor:
    """Set all channels of (B, C, H, W) float32 images to the luma; one channel is left unchanged."""
    return luma(images).expand_as(images)


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Scale all values: (B, C, H, W) in [0, 1] times (B,) factors, clamped. Factor 0 is black, 1 changes nothing."""
    return (images * per_image(factors, images)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Move all values away from the image's mean luma, or toward it: factor 0 is flat, 1 changes nothing.

    Args:
        images: (B, C, H, W) float32 in [0, 1].
        factors: (B,), at least 0.
    """
    mean = luma(images).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, per_image(factors, images)).clamp_(0, 1)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Move each pixel away from its own luma, or toward it: factor 0 is grayscale, 1 changes nothing.

    Args:
        images: (B, C, H, W) float32 in [0, 1].
        factors: (B,), at least 0.
    """
    if images.shape[1] == 1:
        return images
    return torch.lerp(luma(images), images, per_image(factors, images)).clamp_(0, 1)


def adjust_hue(images: Tensor, shifts: Tensor) -> Tensor:
    """Rotate the hue, keeping HSV's saturation and value.

    Args:
        images: (B, C, H, W) float32 in [0, 1].
        shifts: (B,) in turns, -0.5 to 0.5; 1/3 takes red to green.

    Returns:
        (B, C, H, W) float32 in [0, 1].

    Source: Smith 1978, "Color gamut transform pairs", SIGGRAPH. Differences: the way back to RGB has no cases. A
    channel is at its highest within one sixth of a turn of its own hue, at its lowest beyond two, linear in between.
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    # Grays have no hue; whichever they get is multiplied by a chroma of 0.
    per_chroma = chroma.clamp(min=torch.finfo(chroma.dtype).tiny).reciprocal_()
    hue = torch.where(
        value == red,
        (green - blue).mul_(per_chroma),
        torch.where(
            value == green,
            (blue - red).mul_(per_chroma).add_(2),
            (red - green).mul_(per_chroma).add_(4),
        ),
    )
    hue = hue.add_(6 * per_image(shifts, images)[:, 0]).remainder_(6)  # in sixths of a turn, from red
    lowest = value - chroma
    rotated = torch.empty_like(images, memory_format=torch.contiguous_format)
    torch.addcmul(lowest, chroma, (hue - 3).abs_().sub_(1).clamp_(0, 1), out=rotated[:, 0])
    torch.addcmul(lowest, chroma, (hue - 2).abs_().neg_().add_(2).clamp_(0, 1), out=rotated[:, 1])
    torch.addcmul(lowest, chroma, (hue - 4).abs_().neg_().add_(2).clamp_(0, 1), out=rotated[:, 2])
    return rotated


def color_jitter(
    images: Tensor, *, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor, order: Tensor
) -> Tensor:
    """Apply the four adjustments, each sample in its own order; neutral amounts cost nothing.

    Args:
        images: (B, C, H, W) float32 in [0, 1].
        brightness: (B,) factors, 1 is neutral; so `contrast` and `saturation`.
        contrast: (B,) factors.
        saturation: (B,) factors.
        hue: (B,) shifts in turns, 0 is neutral.
        order: (B, 4) int64, each row a permutation of 0 brightness, 1 contrast, 2 saturation, 3 hue. This and the
            amounts on one device, best the host.

    Returns:
        (B, C, H, W) float32 in [0, 1]; values are clamped after each adjustment.
    """
    adjustments: list[tuple[Callable[[Tensor, Tensor], Tensor], Tensor, int]] = [
        (adjust_brightness, brightness, 1),
        (adjust_contrast, contrast, 1),
        (adjust_saturation, saturation, 1),
        (adjust_hue, hue, 0),
    ]
    jittered = images.clone()
    for step in order.unbind(1):
        for number, (adjust, amounts, neutral) in enumerate(adjustments[: 2 if images.shape[1] == 1 else 4]):
            apply_where_((amounts != neutral) & (step == number), adjust, jittered, amounts)
    return jittered


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Invert all values of at least the threshold.

    Args:
        images: (B, C, H, W) float32 in [0, 1].
        thresholds: (B,), 0 to 1; at 0 the whole image is inverted.

    Returns:
        (B, C, H, W) float32 in [0, 1]: x below the threshold, 1 - x from there on.

    Source: Grill et al. 2020, "Bootstrap your own latent", arXiv:2006.07733, App. B, at threshold 0.5; torchvision's
    `solarize`. Differences: none.
    """
    return torch.where(images >= per_image(thresholds, images), 1 - images, images)
