"""Gaussian blur of one channel, mirrored at its borders."""

import math
from typing import Any

import numpy as np

from cl_core.views.image_operations.fused.compiling import inner

f32 = np.float32

# exp(-z * z / 2) is below 2**-24 from here on: such a tap is lost when it is added to the center's in float32.
_LOST = 5.77


@inner
def gaussian_taps(sigma: float, most: int, taps: Any) -> int:
    """Write the weights of a Gaussian from its center outward, and return its radius in pixels.

    Args:
        sigma: Standard deviation in pixels.
        most: Radius of the kernel.
        taps: (most + 1,) float32, written; the center once and the others twice sum to 1.
    """
    radius = min(most, max(1, math.ceil(_LOST * sigma)))
    total = f32(0)
    for tap in range(radius + 1):
        z = f32(tap) / sigma
        taps[tap] = math.exp(f32(-0.5) * z * z)
        total += taps[tap] if tap == 0 else 2 * taps[tap]
    for tap in range(radius + 1):
        taps[tap] /= total
    return radius


@inner
def reflected(place: int, size: int) -> int:
    """Return the pixel that a place up to `size - 1` beyond a border shows."""
    return size - 1 - abs(size - 1 - abs(place))


@inner
def blur(plane: Any, taps: Any, radius: int, blurred: Any, line: Any) -> None:
    """Blur (S, S) values.

    Args:
        plane: float32, overwritten.
        taps: (radius + 1,) weights from the center outward.
        radius: In pixels, below S.
        blurred: (S, S) float32, written.
        line: (S + 2 radius,) float32 at least, overwritten.
    """
    size = plane.shape[0]
    for y in range(size):
        row = plane[y]
        for x in range(-radius, size + radius):
            line[x + radius] = row[reflected(x, size)]
        center = line[radius : radius + size]
        for x in range(size):
            row[x] = taps[0] * center[x]
        for tap in range(1, radius + 1):
            weight = taps[tap]
            before, after = line[radius - tap : radius - tap + size], line[radius + tap : radius + tap + size]
            for x in range(size):
                row[x] += weight * (before[x] + after[x])
    for y in range(size):
        row, middle = blurred[y], plane[y]
        for x in range(size):
            row[x] = taps[0] * middle[x]
        for tap in range(1, radius + 1):
            weight = taps[tap]
            above, below = plane[reflected(y - tap, size)], plane[reflected(y + tap, size)]
            for x in range(size):
                row[x] += weight * (above[x] + below[x])
