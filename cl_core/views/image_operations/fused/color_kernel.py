"""Colors of one view: jitter in any order, and grayscale; as `image_operations.color` has them."""

from typing import Any

import numpy as np

from cl_core.parallel.compiling import inner

f32 = np.float32

_RED, _GREEN, _BLUE = f32(0.299), f32(0.587), f32(0.114)
_SUMMED = 4096  # Longer sums would lose bits of float32.
_TINY = np.finfo(np.float32).tiny


@inner
def scale_brightness(values: Any, factor: float) -> None:
    """Scale (n,) values in 0..1 in place, and clamp them."""
    for i in range(values.size):
        values[i] = min(values[i] * factor, f32(1))


@inner
def scale_contrast(values: Any, factor: float, mean: float) -> None:
    """Move (n,) values in 0..1 away from the mean, or toward it, in place, and clamp them."""
    rest = mean * (f32(1) - factor)
    for i in range(values.size):
        values[i] = min(max(values[i] * factor + rest, f32(0)), f32(1))


@inner
def mean_luma(planes: Any) -> Any:
    """Return the mean luma of (C, n) values; one channel is its own luma."""
    total, count = np.float64(0), planes.shape[1]
    for start in range(0, count, _SUMMED):
        stop = min(start + _SUMMED, count)
        part, first = f32(0), planes[0, start:stop]
        if planes.shape[0] == 3:
            second, third = planes[1, start:stop], planes[2, start:stop]
            for i in range(first.size):
                part += _RED * first[i] + _GREEN * second[i] + _BLUE * third[i]
        else:
            for i in range(first.size):
                part += first[i]
        total += part
    return f32(total / count)


@inner
def scale_saturation(red: Any, green: Any, blue: Any, factor: float) -> None:
    """Move each pixel of three (n,) channels away from its luma, or toward it, in place, and clamp it."""
    rest = f32(1) - factor
    for i in range(red.size):
        r, g, b = red[i], green[i], blue[i]
        gray = (_RED * r + _GREEN * g + _BLUE * b) * rest
        red[i] = min(max(r * factor + gray, f32(0)), f32(1))
        green[i] = min(max(g * factor + gray, f32(0)), f32(1))
        blue[i] = min(max(b * factor + gray, f32(0)), f32(1))


@inner
def shift_hue(red: Any, green: Any, blue: Any, shift: float) -> None:
    """Rotate the hue of three (n,) channels in place; `shift` in turns."""
    sixths = f32(6) * shift
    for i in range(red.size):
        r, g, b = red[i], green[i], blue[i]
        value = max(max(r, g), b)
        lowest = min(min(r, g), b)
        chroma = value - lowest
        per_chroma = f32(1) / max(chroma, _TINY)
        if value == r:
            difference, base = g - b, f32(0)
        elif value == g:
            difference, base = b - r, f32(2)
        else:
            difference, base = r - g, f32(4)
        hue = difference * per_chroma + base + sixths
        hue -= f32(6) * np.floor(hue * f32(1 / 6))
        red[i] = lowest + chroma * min(max(abs(hue - f32(3)) - f32(1), f32(0)), f32(1))
        green[i] = lowest + chroma * min(max(f32(2) - abs(hue - f32(2)), f32(0)), f32(1))
        blue[i] = lowest + chroma * min(max(f32(2) - abs(hue - f32(4)), f32(0)), f32(1))


@inner
def jitter(planes: Any, order: Any, factors: Any) -> None:
    """Adjust brightness, contrast, saturation and hue of (C, n) values in 0..1, in place.

    Args:
        planes: One or three channels; with one, saturation and hue leave it as it is.
        order: (4,) numbers of the adjustments, as `color.color_jitter` has them.
        factors: (4,) float32: three factors and the hue's shift in turns; 1 and 0 change nothing.
    """
    channels = planes.shape[0]
    for step in range(4):
        number = order[step]
        amount = factors[number]
        if number == 0 and amount != 1:
            for c in range(channels):
                scale_brightness(planes[c], amount)
        elif number == 1 and amount != 1:
            mean = mean_luma(planes)
            for c in range(channels):
                scale_contrast(planes[c], amount, mean)
        elif number == 2 and amount != 1 and channels == 3:
            scale_saturation(planes[0], planes[1], planes[2], amount)
        elif number == 3 and amount != 0 and channels == 3:
            shift_hue(planes[0], planes[1], planes[2], amount)


@inner
def gray_first_channel(planes: Any) -> None:
    """Set the first of three channels, (3, n), to the luma."""
    red, green, blue = planes[0], planes[1], planes[2]
    for i in range(red.size):
        red[i] = _RED * red[i] + _GREEN * green[i] + _BLUE * blue[i]
