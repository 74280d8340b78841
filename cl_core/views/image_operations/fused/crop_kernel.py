"""Crop, antialiased resize and flip of one image."""

import math
from typing import Any

import numpy as np

from cl_core.parallel.compiling import inner

f32 = np.float32
# Of unsigned places numba makes no check whether they count from the end.
u32 = np.uint32


@inner
def triangle_taps(length: int, size: int, mirrored: bool, step: int, first: Any, weights: Any) -> int:
    """Write where the taps of each output pixel begin, relative to the box, and their weights, which sum to 1.

    Args:
        length: Of the box, in source pixels.
        size: S, output pixels.
        mirrored: Whether the outputs are in the opposite order.
        step: From one source pixel to the next.
        first: (S,) uint32, written.
        weights: (taps, S) float32, written.

    Returns:
        The number of taps: 2 where the box is not reduced; the second has no weight if there is one pixel.
    """
    scale = f32(length) / f32(size)
    reach = max(scale, f32(1))
    count = min(math.ceil(2 * reach), length)
    for output in range(size):
        center = (f32(output) + f32(0.5)) * scale - f32(0.5)
        low = min(max(math.ceil(center - reach), 0), length - count)
        place = size - 1 - output if mirrored else output
        first[place] = low * step
        weights[1, place] = total = f32(0)
        for tap in range(count):
            weight = max(f32(1) - abs(f32(low + tap) - center) / reach, f32(0))
            weights[tap, place] = weight
            total += weight
        for tap in range(count):
            weights[tap, place] /= total
    return max(count, 2)


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
    """Cut a box out of an image and resize it: along the rows first, then down the columns.

    Args:
        image: (H, W, C) uint8.
        top: Of the box, in pixels, as are `left`, `height` and `width`.
        left: First column.
        height: Rows.
        width: Columns.
        mirrored: Whether the view is mirrored left to right.
        view: (C, S, S) float32 in 0..1, written.
        rows: (C, H + 1, S) float32, overwritten.
        line: (C (W + 1),) float32, overwritten.
        first: (S,) uint32, overwritten.
        weights: (most taps, S) float32, overwritten.
    """
    channels, size = view.shape[0], view.shape[1]
    taps = triangle_taps(width, size, mirrored, channels, first, weights)
    values = width * channels
    for i in range(values, values + channels):  # Read with no weight if the box is one pixel wide.
        line[i] = f32(0)
    for y in range(height):
        source = image[top + y].reshape(image.shape[1] * channels)[left * channels :]
        for i in range(values):
            line[i] = f32(source[i]) / f32(255)
        if channels == 3:
            _along_colors(line, taps, first, weights, rows[0, y], rows[1, y], rows[2, y])
        else:
            _along_grays(line, taps, first, weights, rows[0, y])
    taps = triangle_taps(height, size, False, 1, first, weights)
    for c in range(channels):
        plane = rows[c]
        for x in range(size):
            plane[height, x] = f32(0)
        for y in range(size):
            target, at = view[c, y], first[y]
            near, far, above, below = weights[0, y], weights[1, y], plane[at], plane[at + u32(1)]
            for x in range(size):
                target[x] = near * above[x] + far * below[x]
            for tap in range(2, taps):
                weight, above = weights[tap, y], plane[at + u32(tap)]
                for x in range(size):
                    target[x] += weight * above[x]


@inner
def _along_colors(line: Any, taps: int, first: Any, weights: Any, red: Any, green: Any, blue: Any) -> None:
    """Resize one row of three channels beside each other into three rows."""
    near, far = weights[0], weights[1]
    for x in range(first.size):
        at = u32(first[x])
        red[x] = near[x] * line[at] + far[x] * line[at + u32(3)]
        green[x] = near[x] * line[at + u32(1)] + far[x] * line[at + u32(4)]
        blue[x] = near[x] * line[at + u32(2)] + far[x] * line[at + u32(5)]
    for tap in range(2, taps):
        of_tap = weights[tap]
        for x in range(first.size):
            at = u32(first[x]) + u32(3 * tap)
            red[x] += of_tap[x] * line[at]
            green[x] += of_tap[x] * line[at + u32(1)]
            blue[x] += of_tap[x] * line[at + u32(2)]


@inner
def _along_grays(line: Any, taps: int, first: Any, weights: Any, gray: Any) -> None:
    """Resize one row of one channel."""
    near, far = weights[0], weights[1]
    for x in range(first.size):
        at = u32(first[x])
        gray[x] = near[x] * line[at] + far[x] * line[at + u32(1)]
    for tap in range(2, taps):
        of_tap = weights[tap]
        for x in range(first.size):
            gray[x] += of_tap[x] * line[u32(first[x]) + u32(tap)]
