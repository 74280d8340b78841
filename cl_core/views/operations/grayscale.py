"""Greyscale: what is left of an image without colour."""

from torch import Tensor

_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114  # ITU-R BT.601; torchvision rounds red to 0.2989, so that white darkens


def luma(images: Tensor) -> Tensor:
    """(B, C, H, W) float32 to the (B, 1, H, W) brightness that the eye sees; one channel is its own."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (red * _RED).add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE).unsqueeze(1)


def grayscale(images: Tensor) -> Tensor:
    """(B, C, H, W) float32 to the same shape, all channels equal to the luma. One channel is left as it is."""
    return luma(images).expand_as(images)
