"""One view of each image, from its parameters to the normalized numbers that an encoder reads."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from cl_core.views.image_operations.fused.blur_kernel import blur, gaussian_taps
from cl_core.views.image_operations.fused.color_kernel import gray_first_channel, jitter
from cl_core.views.image_operations.fused.compiling import compiled, inner
from cl_core.views.image_operations.fused.crop_kernel import resample
from cl_core.views.image_operations.fused.rotation_kernel import tilt_plane, turn_quarters

f32 = np.float32


@inner
def store(planes: Any, threshold: float, hole: Any, mean: Any, std: Any, view: Any) -> None:
    """Solarize, cut out, normalize and interleave."""
    size, channels = view.shape[0], view.shape[2]
    for c in range(channels):
        plane = planes[c % planes.shape[0]]
        of_mean, per_std = mean[c], f32(1) / std[c]
        for y in range(size):
            row, target = plane[y], view[y]
            for x in range(size):
                value = row[x]
                value = f32(1) - value if value >= threshold else value
                target[x, c] = (value - of_mean) * per_std
    for y in range(hole[0], hole[0] + hole[2]):
        for x in range(hole[1], hole[1] + hole[3]):
            for c in range(channels):
                view[y, x, c] = f32(0)


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
        whole: (B, 15) int32 parameters, as `fused_views.parameter_table` has them.
        real: (B, 7) float32 parameters.
        mean: (C,) float32 of the channels, in 0..1.
        std: (C,) float32.
        views: (B, S, S, C) float32, written.
    """
    _, height, width, channels = images.shape
    size = views.shape[1]
    longest = max(height, width, size)
    planes = np.empty((channels, size, size), np.float32)
    other = np.empty((channels, longest, size), np.float32)
    line = np.empty((channels, 3 * longest + 1), np.float32)
    first = np.empty(size, np.int32)
    most = 2 * longest // size + 2
    weights = np.empty((most, size), np.float32)
    radius = max(1, size // 20)
    taps = np.empty(radius + 1, np.float32)
    for sample in range(start, stop):
        w, r = whole[sample], real[sample]
        resample(images[sample], w[0], w[1], w[2], w[3], w[4] != 0, planes, other, line, first, weights)
        for c in range(channels):
            square = other[c, :size]
            if w[5] != 0:
                turn_quarters(planes[c], w[5], square)
                planes[c] = square
            if r[0] != 0:
                tilt_plane(planes[c], r[0], square)
                planes[c] = square
        flat = planes.reshape(channels, size * size)
        jitter(flat, w[6:10], r[1:5])
        used = planes
        if w[10] != 0 and channels == 3:
            gray_first_channel(flat)
            used = planes[:1]
        if r[5] > 0:
            reach = gaussian_taps(r[5], radius, taps)
            for c in range(used.shape[0]):
                blur(used[c], taps, reach, other[c, :size], line[0])
            used = other[: used.shape[0], :size]
        store(used, r[6], w[11:15], mean, std, views[sample])
