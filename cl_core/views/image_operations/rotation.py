"""Rotation: by quarter turns, without loss, and by small angles, with interpolation."""

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from cl_core.views.image_operations.subset import apply_where_


def quarter_turns(images: Tensor, turns: Tensor) -> Tensor:
    """Turn each image by a multiple of 90 degrees, counterclockwise.

    Args:
        images: (B, C, S, S) float32.
        turns: (B,) int64, 0 to 3, best on the host; 0 leaves the image as it is.

    Returns:
        (B, C, S, S) float32, the same pixels at other places.
    """
    turned = images.clone()
    for number in (1, 2, 3):
        apply_where_(turns == number, partial(torch.rot90, k=number, dims=(2, 3)), turned)
    return turned


def tilt(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn each image about its center by its own angle, counterclockwise; uncovered corners are black.

    Args:
        images: (B, C, S, S) float32.
        degrees: (B,) angles.

    Returns:
        (B, C, S, S) float32, interpolated between the four nearest pixels.

    Source: torchvision's `rotate` with bilinear interpolation. Differences: none.
    """
    angles = torch.deg2rad(degrees).to(images)
    cosines, sines, zeros = angles.cos(), angles.sin(), torch.zeros_like(angles)
    # Where each pixel of the result comes from, hence the inverse rotation; the second axis points down.
    back = torch.stack([cosines, -sines, zeros, sines, cosines, zeros], dim=1).view(-1, 2, 3)
    grid = affine_grid(back, list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
