"""Views in one pass on a GPU, by Triton: one program makes a view from its crop to its normalized numbers.

It computes what `view_kernel` computes, from the same tables. What needs all pixels of a view waits for all of its
program's threads: the mean luma, for the contrast, and the neighbors of the blur.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # Pixels that a program works on at once.
WARPS = 8  # That it has.
_PROGRAMS = 4  # On each multiprocessor: enough that some compute while others wait for memory.


@triton.jit
def _luma(red, green, blue):
    return 0.299 * red + 0.587 * green + 0.114 * blue


@triton.jit
def _clamped(values):
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
        lowest + chroma * _clamped(tl.abs(hue - 3.0) - 1.0),
        lowest + chroma * _clamped(2.0 - tl.abs(hue - 2.0)),
        lowest + chroma * _clamped(2.0 - tl.abs(hue - 4.0)),
    )


@triton.jit
def _adjusted(red, green, blue, number, amount, mean, channels: tl.constexpr):
    """Adjust the brightness, contrast, saturation or hue, by number; amounts of 1, and 0 of the hue, change nothing."""
    if number == 0:
        red, green, blue = (
            tl.minimum(red * amount, 1.0),
            tl.minimum(green * amount, 1.0),
            tl.minimum(blue * amount, 1.0),
        )
    if number == 1:
        rest = mean * (1.0 - amount)
        red = _clamped(red * amount + rest)
        green = _clamped(green * amount + rest)
        blue = _clamped(blue * amount + rest)
    if channels == 3:
        if number == 2:
            gray = _luma(red, green, blue) * (1.0 - amount)
            red = _clamped(red * amount + gray)
            green = _clamped(green * amount + gray)
            blue = _clamped(blue * amount + gray)
        if number == 3 and amount != 0:
            red, green, blue = _shifted(red, green, blue, amount)
    return red, green, blue


@triton.jit
def _taps(length, place, size):
    """Return where the taps of output pixels begin in a box, and their center and reach; see `crop_kernel`."""
    scale = length.to(tl.float32) / size
    reach = tl.maximum(scale, 1.0)
    count = tl.minimum(tl.ceil(2.0 * reach).to(tl.int32), length)
    center = (place.to(tl.float32) + 0.5) * scale - 0.5
    low = tl.minimum(tl.maximum(tl.ceil(center - reach).to(tl.int32), 0), length - count)
    return low, center, reach, count


@triton.jit
def _resampled(image, whole, y, x, image_width: tl.constexpr, size: tl.constexpr, channels: tl.constexpr):
    """Return the values of the cropped, resized, mirrored and quarter-turned view at some of its pixels."""
    top, left = tl.load(whole), tl.load(whole + 1)
    height, width = tl.load(whole + 2), tl.load(whole + 3)
    turns = tl.load(whole + 5)
    last = size - 1
    row = tl.where(turns == 0, y, tl.where(turns == 1, x, tl.where(turns == 2, last - y, last - x)))
    column = tl.where(turns == 0, x, tl.where(turns == 1, last - y, tl.where(turns == 2, last - x, y)))
    column = tl.where(tl.load(whole + 4) != 0, last - column, column)
    first_row, center_y, reach_y, count_y = _taps(height, row, size)
    first_column, center_x, reach_x, count_x = _taps(width, column, size)
    red = tl.zeros_like(center_x)
    green = tl.zeros_like(center_x)
    blue = tl.zeros_like(center_x)
    total = tl.zeros_like(center_x)
    for down in range(count_y):
        of_row = tl.maximum(1.0 - tl.abs((first_row + down).to(tl.float32) - center_y) / reach_y, 0.0)
        line = image + ((top + first_row + down) * image_width + left) * channels
        for across in range(count_x):
            of_column = tl.maximum(1.0 - tl.abs((first_column + across).to(tl.float32) - center_x) / reach_x, 0.0)
            weight = of_row * of_column
            pixel = line + (first_column + across) * channels
            red += weight * tl.load(pixel).to(tl.float32)
            if channels == 3:
                green += weight * tl.load(pixel + 1).to(tl.float32)
                blue += weight * tl.load(pixel + 2).to(tl.float32)
            total += weight
    per_total = 1.0 / (255.0 * total)
    red *= per_total
    if channels == 3:
        return red, green * per_total, blue * per_total
    return red, red, red


@triton.jit
def _rotated(image, whole, degrees, y, x, image_width: tl.constexpr, size: tl.constexpr, channels: tl.constexpr):
    """Return the values of that view turned by any angle, between its pixels; uncovered corners are 0."""
    angle = degrees * 0.017453292519943295
    cosine, sine = tl.cos(angle), tl.sin(angle)
    center = (size - 1) / 2.0
    right, down = x.to(tl.float32) - center, y.to(tl.float32) - center
    column, row = cosine * right - sine * down + center, sine * right + cosine * down + center
    left, top = tl.floor(column), tl.floor(row)
    red = tl.zeros_like(column)
    green = tl.zeros_like(column)
    blue = tl.zeros_like(column)
    for corner in range(4):
        at_x, at_y = left.to(tl.int32) + corner % 2, top.to(tl.int32) + corner // 2
        across = 1.0 - tl.abs(column - at_x.to(tl.float32))
        along = 1.0 - tl.abs(row - at_y.to(tl.float32))
        is_inside = (at_x >= 0) & (at_x < size) & (at_y >= 0) & (at_y < size)
        weight = tl.where(is_inside, across * along, 0.0)
        last = size - 1
        inner_y, inner_x = tl.minimum(tl.maximum(at_y, 0), last), tl.minimum(tl.maximum(at_x, 0), last)
        r, g, b = _resampled(image, whole, inner_y, inner_x, image_width, size, channels)
        red += weight * r
        green += weight * g
        blue += weight * b
    return red, green, blue


@triton.jit
def _store(
    red, green, blue, whole, threshold, channels_of, view, pixels, mask, size: tl.constexpr, channels: tl.constexpr
):
    """Solarize, normalize and cut out, into pixels with their channels beside each other."""
    top, left = tl.load(whole + 11), tl.load(whole + 12)
    y, x = pixels // size, pixels % size
    is_shown = (y < top) | (y >= top + tl.load(whole + 13)) | (x < left) | (x >= left + tl.load(whole + 14))
    for channel in tl.static_range(channels):
        value = red if channel == 0 else (green if channel == 1 else blue)
        value = tl.where(value >= threshold, 1.0 - value, value)
        value = (value - tl.load(channels_of + channel)) / tl.load(channels_of + channels + channel)
        tl.store(view + pixels * channels + channel, tl.where(is_shown, value, 0.0), mask=mask)


@triton.jit
def _put(planes, red, green, blue, pixels, mask, size: tl.constexpr, channels: tl.constexpr):
    tl.store(planes + pixels, red, mask=mask)
    if channels == 3:
        tl.store(planes + size * size + pixels, green, mask=mask)
        tl.store(planes + 2 * size * size + pixels, blue, mask=mask)


@triton.jit
def _got(planes, pixels, mask, size: tl.constexpr, channels: tl.constexpr):
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
def _blurred(planes, pixels, mask, sigma, radius, is_down: tl.constexpr, size: tl.constexpr, channels: tl.constexpr):
    """Blur down the columns if `is_down`, else along the rows; mirrored at the borders."""
    y, x = pixels // size, pixels % size
    red, green, blue = _got(planes, pixels, mask, size, channels)
    total = 1.0
    for tap in range(1, radius + 1):
        z = tap / sigma
        weight = tl.exp(-0.5 * z * z)
        total += 2.0 * weight
        for side in tl.static_range(2):
            away = tap * (2 * side - 1)
            place = _mirrored(y + away, size) * size + x if is_down else y * size + _mirrored(x + away, size)
            r, g, b = _got(planes, place, mask, size, channels)
            red += weight * r
            green += weight * g
            blue += weight * b
    return red / total, green / total, blue / total


@triton.jit
def gpu_view_kernel(
    images,
    wholes,
    reals,
    channels_of,
    scratch,
    views,
    count,
    image_height: tl.constexpr,
    image_width: tl.constexpr,
    size: tl.constexpr,
    channels: tl.constexpr,
    block: tl.constexpr,
):
    """Make the views of some samples.

    Args:
        images: (B, H, W, C) uint8.
        wholes: (B, 15) int32 parameters, as `parameter_table` has them.
        reals: (B, 7) float32 parameters.
        channels_of: (2, C) float32: means and standard deviations.
        scratch: (programs, 2, C, S, S) float32, overwritten.
        views: (B, S, S, C) float32, written.
        count: B.
        image_height: H.
        image_width: W.
        size: S.
        channels: C, 1 or 3.
        block: Pixels that are worked on at once.
    """
    program = tl.program_id(0).to(tl.int64)
    planes = scratch + program * (2 * channels * size * size)
    others = planes + channels * size * size
    for turn in range(tl.cdiv(count - tl.program_id(0), tl.num_programs(0))):
        sample = program + turn * tl.num_programs(0)
        image = images + sample * (image_height * image_width * channels)
        view = views + sample * (size * size * channels)
        whole, real = wholes + sample * 15, reals + sample * 7
        degrees, sigma, threshold = tl.load(real), tl.load(real + 5), tl.load(real + 6)
        # The contrast's place in the order: its mean is that of the values before it.
        contrast = 0
        for step in tl.static_range(4):
            contrast += tl.where(tl.load(whole + 6 + step) == 1, step, 0)

        summed = 0.0
        for start in range(0, size * size, block):
            pixels = start + tl.arange(0, block)
            mask = pixels < size * size
            inside = tl.minimum(pixels, size * size - 1)
            y, x = inside // size, inside % size
            if degrees == 0:
                red, green, blue = _resampled(image, whole, y, x, image_width, size, channels)
            else:
                red, green, blue = _rotated(image, whole, degrees, y, x, image_width, size, channels)
            for step in tl.static_range(3):
                if step < contrast:
                    number = tl.load(whole + 6 + step)
                    amount = tl.load(real + 1 + number)
                    red, green, blue = _adjusted(red, green, blue, number, amount, 0.0, channels)
            luma = _luma(red, green, blue) if channels == 3 else red
            summed += tl.sum(tl.where(mask, luma, 0.0))
            _put(planes, red, green, blue, pixels, mask, size, channels)
        mean = summed / (size * size)
        tl.debug_barrier()

        for start in range(0, size * size, block):
            pixels = start + tl.arange(0, block)
            mask = pixels < size * size
            red, green, blue = _got(planes, pixels, mask, size, channels)
            for step in tl.static_range(4):
                if step >= contrast:
                    number = tl.load(whole + 6 + step)
                    amount = tl.load(real + 1 + number)
                    red, green, blue = _adjusted(red, green, blue, number, amount, mean, channels)
            if channels == 3 and tl.load(whole + 10) != 0:
                gray = _luma(red, green, blue)
                red, green, blue = gray, gray, gray
            if sigma > 0:
                _put(planes, red, green, blue, pixels, mask, size, channels)
            else:
                _store(red, green, blue, whole, threshold, channels_of, view, pixels, mask, size, channels)

        if sigma > 0:
            # As in `blur_kernel`: taps farther out than 5.77 sigma are lost in float32.
            radius = tl.maximum(tl.minimum(tl.ceil(sigma * 5.77).to(tl.int32), size // 20), 1)
            tl.debug_barrier()
            for start in range(0, size * size, block):
                pixels = start + tl.arange(0, block)
                mask = pixels < size * size
                red, green, blue = _blurred(planes, pixels, mask, sigma, radius, True, size, channels)
                _put(others, red, green, blue, pixels, mask, size, channels)
            tl.debug_barrier()
            for start in range(0, size * size, block):
                pixels = start + tl.arange(0, block)
                mask = pixels < size * size
                red, green, blue = _blurred(others, pixels, mask, sigma, radius, False, size, channels)
                _store(red, green, blue, whole, threshold, channels_of, view, pixels, mask, size, channels)
        tl.debug_barrier()


def make_on_gpu(images: Tensor, whole: Tensor, real: Tensor, channels_of: Tensor, *, size: int) -> Tensor:
    """Make one view of each image.

    Args:
        images: (B, H, W, C) uint8, one or three channels.
        whole: (B, 15) int32 parameters, as `parameter_table` has them.
        real: (B, 7) float32 parameters.
        channels_of: (2, C) float32: what is subtracted from the channels, and what they are divided by.
        size: S, the side of the views in pixels.

    Returns:
        (B, S, S, C) float32 on the device of all these.
    """
    count, height, width, channels = images.shape
    programs = min(count, _PROGRAMS * _multiprocessors(images.device))
    views = torch.empty((count, size, size, channels), device=images.device)
    scratch = torch.empty((programs, 2, channels, size, size), device=images.device)
    kernel: Any = gpu_view_kernel[(programs,)]
    kernel(
        images, whole, real, channels_of, scratch, views, count, height, width, size, channels, BLOCK, num_warps=WARPS
    )
    return views


def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
