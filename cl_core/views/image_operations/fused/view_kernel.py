"""One view of each image, from its parameters to the normalized numbers that an encoder reads."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from cl_core.parallel.compiling import compiled, inner
from cl_core.views.image_operations.fused.blur_kernel import blur, gaussian_taps
from cl_core.views.image_operations.fused.color_kernel import gray_first_channel, jitter
from cl_core.views.image_operations.fused.crop_kernel import resample
from cl_core.views.image_operations.fused.rotation_kernel import tilt_plane, turn_quarters

f32 = np.float32


@inner
def store(planes: Any, is_gray: bool, threshold: float, hole: Any, mean: Any, std: Any, view: Any) -> None:
    """Solarize, normalize and cut out, into pixels with their channels beside each other.

    Args:
        planes: (C, S * S) float32 in 0..1.
        is_gray: Whether all channels are as the first one; always with one.
        threshold: From which on values are inverted; above 1 for none.
        hole: (4,) top, left, height and width of what is cut out.
        mean: (C,) float32.
        std: (C,) float32.
        view: (S, S, C) float32, written.
    """
    size, channels = view.shape[0], view.shape[2]
    pixels = size * size
    values = view.reshape(pixels * channels)
    red, green, blue = planes[0], planes[0 if is_gray else 1], planes[0 if is_gray else 2]
    if channels == 3:
        for i in range(pixels):
            values[3 * i] = (_solarized(red[i], threshold) - mean[0]) / std[0]
            values[3 * i + 1] = (_solarized(green[i], threshold) - mean[1]) / std[1]
            values[3 * i + 2] = (_solarized(blue[i], threshold) - mean[2]) / std[2]
    else:
        for i in range(pixels):
            values[i] = (_solarized(red[i], threshold) - mean[0]) / std[0]
    for y in range(hole[0], hole[0] + hole[2]):
        for x in range(hole[1], hole[1] + hole[3]):
            for c in range(channels):
                view[y, x, c] = f32(0)


@inner
def _solarized(value: Any, threshold: float) -> Any:
    return f32(1) - value if value >= threshold else value


@inner
def _copy(values: Any, into: Any) -> None:
    for i in range(values.size):
        into[i] = values[i]


@cache
def view_kernel() -> Callable[..., None]:
    """Return `_make_views`, compiled; call this in one thread first."""
    numbers, reals = types.int32[:, ::1], types.float32[:, ::1]
    vector, views = types.float32[::1], types.float32[:, :, :, ::1]
    images, place = types.uint8[:, :, :, ::1], types.int64
    return compiled(_make_views, images, place, place, numbers, reals, vector, vector, views)


def _make_views(images: Any, start: int, stop: int, whole: Any, real: Any, mean: Any, std: Any, views: Any) -> None:
    """Make the views `start` to `stop` of a batch.

    Args:
        images: (B, H, W, C) uint8, one or three channels.
        start: First sample.
        stop: The one after the last.
        whole: (B, 15) int32 parameters, as `parameter_table` has them.
        real: (B, 7) float32 parameters.
        mean: (C,) float32 of the channels, in 0..1.
        std: (C,) float32.
        views: (B, S, S, C) float32, written.
    """
    _, height, width, channels = images.shape
    size = views.shape[1]
    longest = max(height, width, size)
    planes = np.empty((channels, size * size), np.float32)
    spare = np.empty(channels * (longest + 1) * size, np.float32)
    rows = spare.reshape(channels, longest + 1, size)
    others = spare[: planes.size].reshape(planes.shape)
    line = np.empty(3 * longest + 3, np.float32)
    first, weights = np.empty(size, np.uint32), np.empty((2 * longest // size + 3, size), np.float32)
    radius = max(1, size // 20)
    taps = np.empty(radius + 2, np.float32)
    for sample in range(start, stop):
        w, r = whole[sample], real[sample]
        cube = planes.reshape(channels, size, size)
        resample(images[sample], w[0], w[1], w[2], w[3], w[4] != 0, cube, rows, line, first, weights)
        for c in range(channels):
            if w[5] != 0:
                turn_quarters(planes[c].reshape(size, size), w[5], others[c].reshape(size, size))
                _copy(others[c], planes[c])
            if r[0] != 0:
                tilt_plane(planes[c].reshape(size, size), r[0], others[c].reshape(size, size))
                _copy(others[c], planes[c])
        jitter(planes, w[6:10], r[1:5])
        is_gray = channels == 1 or w[10] != 0
        if channels == 3 and is_gray:
            gray_first_channel(planes)
        view = views[sample]
        if r[5] > 0:
            reach = gaussian_taps(r[5], radius, taps)
            for c in range(1 if is_gray else 3):
                blur(planes[c].reshape(size, size), taps, reach, others[c].reshape(size, size), line)
            store(others, is_gray, r[6], w[11:15], mean, std, view)
        else:
            store(planes, is_gray, r[6], w[11:15], mean, std, view)
