"""Bringing images to the size and the channels that an encoder takes: the same for training and for use."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def to_shape(image: Image.Image, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The largest centred square of an image, by antialiased bicubic resampling; one that has the size is kept.

    Args:
        image: Upright, of mode L or RGB, as `decode_image` gives it.
        shape: (H, W, C) with H = W; C is 1 or 3.

    Returns:
        `shape` uint8. A greyscale image gets three equal channels where three are wanted; where one is, a colour image
        becomes its luma (ITU-R BT.601).
    """
    square = _square(image, shape[0])
    pixels = np.asarray(square.convert("L") if shape[2] == 1 else square)
    return np.broadcast_to(pixels if pixels.ndim == 3 else pixels[:, :, None], shape)


def _square(image: Image.Image, size: int) -> Image.Image:
    """The largest centred square at `size`: the same as resizing the shorter side and cropping, without the rest."""
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
