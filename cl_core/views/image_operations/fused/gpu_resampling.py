"""Crop, resize, flip and rotation of some pixels of a view, on a GPU; see `crop_kernel` and `rotation_kernel`."""

import triton
import triton.language as tl


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
def resampled(image, whole, y, x, image_width: tl.constexpr, size: tl.constexpr, channels: tl.constexpr):
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
def rotated(image, whole, degrees, y, x, image_width: tl.constexpr, size: tl.constexpr, channels: tl.constexpr):
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
        r, g, b = resampled(image, whole, inner_y, inner_x, image_width, size, channels)
        red += weight * r
        green += weight * g
        blue += weight * b
    return red, green, blue
