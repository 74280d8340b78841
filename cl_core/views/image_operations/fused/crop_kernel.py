"""Crop, antialiased resize and flip of one image."""

import math
from typing import Any

import numpy as np

from cl_core.views.image_operations.fused.compiling import inner

f32 = np.float32


@inner
def triangle_taps(length: int, size: int, mirrored: bool, first: Any, weights: Any) -> int:
    """Write where the taps of each output pixel begin, relative to the box, and their weights, which sum to 1.

    Args:
        length: Of the box, in source pixels.
        size: S, output pixels.
        mirrored: Whether the outputs are in the opposite order.
        first: (S,) int32, written.
        weights: (taps, S) float32, written.

    Returns:
        The number of taps, at least 1: 2 where a box of two or more pixels is enlarged.
    """
    scale = f32(length) / f32(size)
    reach = max(scale, f32(1))
    count = min(math.ceil(2 * reach), length)
    for output in range(size):
        center = (f32(output) + f32(0.5)) * scale - f32(0.5)
        low = min(max(math.ceil(center - reach), 0), length - count)
        place = size - 1 - output if mirrored else output
        first[place] = low
        total = f32(0)
        for tap in range(count):
            weight = max(f32(1) - abs(f32(low + tap) - center) / reach, f32(0))
            weights[tap, place] = weight
            total += weight
        for tap in range(count):
            weights[tap, place] /= total
    return count


@inner
def resample(
    image: Any,
    top: int,
    left: int,
    height: int,
    width: int,
    mirrored: bool,
    view: Any,
    rows: Any,
    line: Any,
    first: Any,
    weights: Any,
) -> None:
    """Cut a box out of an image and resize it.

    Args:
        image: (H, W, C) uint8.
        top: Of the box, in pixels, as are `left`, `height` and `width`.
        left: First column.
        height: Rows.
        width: Columns.
        mirrored: Whether the view is mirrored left to right.
        view: (C, S, S) float32 in 0..1, written.
        rows: (C, H, S) float32, overwritten.
        line: (C, W + 1) float32, overwritten.
        first: (S,) int32, overwritten.
        weights: (most taps, S) float32, overwritten.
    """
    channels, size = view.shape[0], view.shape[1]
    taps = triangle_taps(width, size, mirrored, first, weights)
    for y in range(height):
        source = image[top + y]
        for c in range(channels):
            channel = line[c]
            for x in range(width):
                channel[x] = f32(source[left + x, c]) / f32(255)
            target = rows[c, y]
            if taps == 2:
                near, far = weights[0], weights[1]
                for x in range(size):
                    at = first[x]
                    target[x] = near[x] * channel[at] + far[x] * channel[at + 1]
            else:
                for x in range(size):
                    target[x] = f32(0)
                for tap in range(taps):
                    of_tap = weights[tap]
                    for x in range(size):
                        target[x] += of_tap[x] * channel[first[x] + tap]
    taps = triangle_taps(height, size, False, first, weights)
    for c in range(channels):
        for y in range(size):
            target = view[c, y]
            at = first[y]
            if taps == 2:
                above, below = rows[c, at], rows[c, at + 1]
                near_y, far_y = weights[0, y], weights[1, y]
                for x in range(size):
                    target[x] = near_y * above[x] + far_y * below[x]
            else:
                for x in range(size):
                    target[x] = f32(0)
                for tap in range(taps):
                    weight = weights[tap, y]
                    above = rows[c, at + tap]
                    for x in range(size):
                        target[x] += weight * above[x]
