"""Colors of some pixels of a view, on a GPU; see `color_kernel`."""

import triton
import triton.language as tl


@triton.jit
def luma_of(red, green, blue):
    """Return the luma of colors in 0..1."""
    return 0.299 * red + 0.587 * green + 0.114 * blue


@triton.jit
def clamped(values):
    """Return values within 0..1."""
    return tl.minimum(tl.maximum(values, 0.0), 1.0)


@triton.jit
def _shifted(red, green, blue, shift):
    """Rotate the hue; see `color.adjust_hue`."""
    value = tl.maximum(tl.maximum(red, green), blue)
    lowest = tl.minimum(tl.minimum(red, green), blue)
    chroma = value - lowest
    per_chroma = 1.0 / tl.maximum(chroma, 1.2e-38)
    of_others = tl.where(value == green, (blue - red) * per_chroma + 2.0, (red - green) * per_chroma + 4.0)
    hue = tl.where(value == red, (green - blue) * per_chroma, of_others) + 6.0 * shift
    hue -= 6.0 * tl.floor(hue / 6.0)
    return (
        lowest + chroma * clamped(tl.abs(hue - 3.0) - 1.0),
        lowest + chroma * clamped(2.0 - tl.abs(hue - 2.0)),
        lowest + chroma * clamped(2.0 - tl.abs(hue - 4.0)),
    )


@triton.jit
def adjusted(red, green, blue, number, amount, mean, channels: tl.constexpr):
    """Adjust the brightness, contrast, saturation or hue, by number; amounts of 1, and 0 of the hue, change nothing."""
    if number == 0:
        red, green, blue = (
            tl.minimum(red * amount, 1.0),
            tl.minimum(green * amount, 1.0),
            tl.minimum(blue * amount, 1.0),
        )
    if number == 1:
        rest = mean * (1.0 - amount)
        red = clamped(red * amount + rest)
        green = clamped(green * amount + rest)
        blue = clamped(blue * amount + rest)
    if channels == 3:
        if number == 2:
            gray = luma_of(red, green, blue) * (1.0 - amount)
            red = clamped(red * amount + gray)
            green = clamped(green * amount + gray)
            blue = clamped(blue * amount + gray)
        if number == 3 and amount != 0:
            red, green, blue = _shifted(red, green, blue, amount)
    return red, green, blue
