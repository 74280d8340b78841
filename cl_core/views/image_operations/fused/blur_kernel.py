"""Gaussian blur of one channel, mirrored at its borders."""

import math
from typing import Any

import numpy as np

from cl_core.parallel.compiling import inner

f32 = np.float32

# exp(-z * z / 2) is below 2**-24 from here on: such a tap is lost when it is added to the center's in float32.
_LOST = 5.77


@inner
def gaussian_taps(sigma: float, most: int, taps: Any) -> int:
    """Write the weights of a Gaussian from its center outward, then a 0; return its radius in pixels.

    Args:
        sigma: Standard deviation in pixels.
        most: Radius of the kernel.
        taps: (most + 2,) float32, written; the center once and the others twice sum to 1.
    """
    radius = min(most, max(1, math.ceil(_LOST * sigma)))
    total = f32(0)
    for tap in range(radius + 1):
        z = f32(tap) / sigma
        taps[tap] = math.exp(f32(-0.5) * z * z)
        total += taps[tap] if tap == 0 else f32(2) * taps[tap]
    for tap in range(radius + 1):
        taps[tap] /= total
    taps[radius + 1] = f32(0)
    return radius


@inner
def blur(plane: Any, taps: Any, radius: int, blurred: Any, line: Any) -> None:
    """Blur (S, S) values: each row first with those above and below, then along itself.

    Args:
        plane: float32.
        taps: (radius + 2,) weights from the center outward, the last one 0. So taps can be added in pairs, which halves
            how often a sum is read and written.
        radius: In pixels, below S.
        blurred: (S, S) float32, written.
        line: (S + 2 radius + 2,) float32 at least, overwritten.
    """
    size = plane.shape[0]
    start = radius + 1
    row = line[start : start + size]
    for y in range(size):
        middle, above, below = plane[y], plane[_mirrored(y - 1, size)], plane[_mirrored(y + 1, size)]
        for x in range(size):
            row[x] = taps[0] * middle[x] + taps[1] * (above[x] + below[x])
        for tap in range(2, radius + 1, 2):
            above, below = plane[_mirrored(y - tap, size)], plane[_mirrored(y + tap, size)]
            farther_up, farther_down = plane[_mirrored(y - tap - 1, size)], plane[_mirrored(y + tap + 1, size)]
            near, far = taps[tap], taps[tap + 1]
            for x in range(size):
                row[x] += near * (above[x] + below[x]) + far * (farther_up[x] + farther_down[x])
        for tap in range(1, radius + 2):
            line[start - tap] = row[_mirrored(-tap, size)]
            line[start + size - 1 + tap] = row[_mirrored(size - 1 + tap, size)]
        result, before, after = blurred[y], line[start - 1 :], line[start + 1 :]
        for x in range(size):
            result[x] = taps[0] * row[x] + taps[1] * (before[x] + after[x])
        for tap in range(2, radius + 1, 2):
            before, after = line[start - tap :], line[start + tap :]
            farther_left, farther_right = line[start - tap - 1 :], line[start + tap + 1 :]
            near, far = taps[tap], taps[tap + 1]
            for x in range(size):
                result[x] += near * (before[x] + after[x]) + far * (farther_left[x] + farther_right[x])


@inner
def _mirrored(place: int, size: int) -> int:
    """Return the pixel that a place beyond a border shows, which is at most `size - 1` beyond it."""
    return size - 1 - abs(size - 1 - abs(place))
