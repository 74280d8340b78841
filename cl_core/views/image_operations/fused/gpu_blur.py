"""Planes of a view in the memory of a GPU, and their blur; see `blur_kernel`."""

import triton
import triton.language as tl


@triton.jit
def put(planes, red, green, blue, pixels, mask, size: tl.constexpr, channels: tl.constexpr):
    """Store some pixels of the planes."""
    tl.store(planes + pixels, red, mask=mask)
    if channels == 3:
        tl.store(planes + size * size + pixels, green, mask=mask)
        tl.store(planes + 2 * size * size + pixels, blue, mask=mask)


@triton.jit
def got(planes, pixels, mask, size: tl.constexpr, channels: tl.constexpr):
    """Return some pixels of the planes; with one channel, three times the same."""
    red = tl.load(planes + pixels, mask=mask, other=0.0)
    if channels == 3:
        green = tl.load(planes + size * size + pixels, mask=mask, other=0.0)
        return red, green, tl.load(planes + 2 * size * size + pixels, mask=mask, other=0.0)
    return red, red, red


@triton.jit
def _mirrored(place, size: tl.constexpr):
    """Return the pixel that a place beyond a border shows."""
    last = size - 1
    return last - tl.abs(last - tl.abs(place))


@triton.jit
def blurred(planes, pixels, mask, sigma, radius, is_down: tl.constexpr, size: tl.constexpr, channels: tl.constexpr):
    """Blur down the columns if `is_down`, else along the rows; mirrored at the borders."""
    y, x = pixels // size, pixels % size
    red, green, blue = got(planes, pixels, mask, size, channels)
    total = 1.0
    for tap in range(1, radius + 1):
        z = tap / sigma
        weight = tl.exp(-0.5 * z * z)
        total += 2.0 * weight
        for side in tl.static_range(2):
            away = tap * (2 * side - 1)
            place = _mirrored(y + away, size) * size + x if is_down else y * size + _mirrored(x + away, size)
            r, g, b = got(planes, place, mask, size, channels)
            red += weight * r
            green += weight * g
            blue += weight * b
    return red / total, green / total, blue / total
