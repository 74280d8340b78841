"""Grayscale: an image without color."""

from torch import Tensor

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
