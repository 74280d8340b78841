"""Views in one pass on a GPU, by Triton: one program makes a view from its crop to its normalized numbers.

It computes what `view_kernel` computes, from the same tables. What needs all pixels of a view waits for all of its
program's threads: the mean luma, for the contrast, and the neighbors of the blur.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from cl_core.views.image_operations.fused.gpu_blur import blurred, got, put
from cl_core.views.image_operations.fused.gpu_colors import adjusted, luma_of
from cl_core.views.image_operations.fused.gpu_resampling import resampled, rotated

BLOCK = 1024  # Pixels that a program works on at once.
WARPS = 8  # That it has.
_PROGRAMS = 4  # On each multiprocessor: enough that some compute while others wait for memory.


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
                red, green, blue = resampled(image, whole, y, x, image_width, size, channels)
            else:
                red, green, blue = rotated(image, whole, degrees, y, x, image_width, size, channels)
            for step in tl.static_range(3):
                if step < contrast:
                    number = tl.load(whole + 6 + step)
                    amount = tl.load(real + 1 + number)
                    red, green, blue = adjusted(red, green, blue, number, amount, 0.0, channels)
            luma = luma_of(red, green, blue) if channels == 3 else red
            summed += tl.sum(tl.where(mask, luma, 0.0))
            put(planes, red, green, blue, pixels, mask, size, channels)
        mean = summed / (size * size)
        tl.debug_barrier()

        for start in range(0, size * size, block):
            pixels = start + tl.arange(0, block)
            mask = pixels < size * size
            red, green, blue = got(planes, pixels, mask, size, channels)
            for step in tl.static_range(4):
                if step >= contrast:
                    number = tl.load(whole + 6 + step)
                    amount = tl.load(real + 1 + number)
                    red, green, blue = adjusted(red, green, blue, number, amount, mean, channels)
            if channels == 3 and tl.load(whole + 10) != 0:
                gray = luma_of(red, green, blue)
                red, green, blue = gray, gray, gray
            if sigma > 0:
                put(planes, red, green, blue, pixels, mask, size, channels)
            else:
                _store(red, green, blue, whole, threshold, channels_of, view, pixels, mask, size, channels)

        if sigma > 0:
            # As in `blur_kernel`: taps farther out than 5.77 sigma are lost in float32.
            radius = tl.maximum(tl.minimum(tl.ceil(sigma * 5.77).to(tl.int32), size // 20), 1)
            tl.debug_barrier()
            for start in range(0, size * size, block):
                pixels = start + tl.arange(0, block)
                mask = pixels < size * size
                red, green, blue = blurred(planes, pixels, mask, sigma, radius, True, size, channels)
                put(others, red, green, blue, pixels, mask, size, channels)
            tl.debug_barrier()
            for start in range(0, size * size, block):
                pixels = start + tl.arange(0, block)
                mask = pixels < size * size
                red, green, blue = blurred(others, pixels, mask, sigma, radius, False, size, channels)
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
