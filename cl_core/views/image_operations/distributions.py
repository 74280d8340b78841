"""The distributions of augmentation parameters: from uniform numbers to boxes, factors and orders.

In float64 on the host: crop sizes are rounded results of square roots and exponentials, where two devices may differ
in the last bit and so by a whole pixel.
"""

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

CROP_TRIES = 10
CROP_DRAWS = 2 * CROP_TRIES + 2  # area and ratio of each try, then the position: vertical, horizontal
_ORDERS = np.array(list(permutations(range(4))))


def crop_boxes(draws: F64, *, height: int, width: int, area: tuple[float, float], ratio: tuple[float, float]) -> I64:
    """Draw boxes of uniform area, log-uniform aspect ratio and uniform position.

    A box that does not fit into the image is drawn again. After ten tries it is the largest central box whose aspect
    ratio is allowed: the whole image, if its own is.

    Args:
        draws: (B, 22) uniform in [0, 1). Each try has its own two, used or not.
        height: Of the images, in pixels.
        width: Of the images, in pixels.
        area: Least and greatest share of the image's area, 0 to 1.
        ratio: Least and greatest width / height.

    Returns:
        (B, 4) int64: top, left, height, width in pixels.

    Source: Szegedy et al. 2015, "Going deeper with convolutions", arXiv:1409.4842, Sec. 6, as torchvision's
    `RandomResizedCrop` has it. Differences: none in law.
    """
    areas = height * width * between(draws[:, 0 : 2 * CROP_TRIES : 2], *area)
    ratios = np.exp(between(draws[:, 1 : 2 * CROP_TRIES : 2], *np.log(ratio)))
    widths, heights = np.rint(np.sqrt(areas * ratios)), np.rint(np.sqrt(areas / ratios))
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    samples, first = np.arange(len(draws)), fits.argmax(axis=1)
    has_fit = fits.any(axis=1)
    central_height, central_width = _largest_box(height, width, ratio)
    box_heights = np.where(has_fit, heights[samples, first], central_height)
    box_widths = np.where(has_fit, widths[samples, first], central_width)
    tops = np.where(has_fit, np.floor(draws[:, -2] * (height - box_heights + 1)), (height - central_height) // 2)
    lefts = np.where(has_fit, np.floor(draws[:, -1] * (width - box_widths + 1)), (width - central_width) // 2)
    return np.stack([tops, lefts, box_heights, box_widths], axis=1).astype(np.int64)


def _largest_box(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """Return height and width of the largest box with an allowed aspect ratio."""
    if width / height < ratio[0]:
        return round(width / ratio[0]), width
    if width / height > ratio[1]:
        return height, round(height * ratio[1])
    return height, width


def between(draws: F64, low: float, high: float) -> F64:
    """Scale uniform numbers in [0, 1) to [low, high)."""
    return low + draws * (high - low)


def factors(draws: F64, strength: float) -> F64:
    """Return factors uniform in [1 - strength, 1 + strength), never below 0; strength 0 gives 1."""
    return between(draws, max(0.0, 1 - strength), 1 + strength)


def orders(draws: F64) -> I64:
    """Map (B,) uniform numbers to (B, 4) permutations of 0 to 3, each of the 24 equally likely."""
    return _ORDERS[(draws * len(_ORDERS)).astype(np.int64)]


def quarters(draws: F64) -> I64:
    """Map (B,) uniform numbers to turns of 90, 180 or 270 degrees, as 1, 2 or 3, equally likely."""
    return 1 + (3 * draws).astype(np.int64)


def holes(draws: F64, *, size: int, share: float) -> I64:
    """Draw squares whose center is any pixel, all equally likely; parts beyond the border are cut off.

    Args:
        draws: (B, 2) uniform in [0, 1): vertical, horizontal.
        size: Side of the image, in pixels.
        share: Side of a square, as a share of the image's.

    Returns:
        (B, 4) int64: top, left, height, width in pixels.

    Source: DeVries & Taylor 2017, arXiv:1708.04552, Sec. 3.2. Differences: none.
    """
    side = max(1, round(share * size))
    starts = np.floor(draws * size) - side // 2
    inside = np.clip(starts, 0, size)
    sides = np.clip(starts + side, 0, size) - inside
    return np.concatenate([inside, sides], axis=1).astype(np.int64)
