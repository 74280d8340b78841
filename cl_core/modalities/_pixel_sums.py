"""Sums over the pixels of an image: of integers, and so exact."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class PixelSums(NamedTuple):
    """What is counted of the levels of an image, 0 to 255."""

    low: int  # The least level of all channels.
    high: int  # The greatest.
    sums: list[int]  # Of each channel's levels.
    squares: list[int]  # Of their squares.


def pixel_sums(pixels: NDArray[np.uint8]) -> PixelSums:
    """Return the sums of (H, W, C) uint8 pixels, contiguous; H is at most 66,051, so that 32 bits hold a column's."""
    height, width, channels = pixels.shape
    rows = pixels.reshape(height, width * channels)
    # Rows are added first, in vector registers: adding each channel by itself takes five times as long.
    sums, squares = (
        values.sum(axis=0, dtype=np.uint32).reshape(width, channels).sum(axis=0, dtype=np.int64).tolist()
        for values in (rows, np.square(rows, dtype=np.uint16))
    )
    return PixelSums(int(pixels.min()), int(pixels.max()), sums, squares)
