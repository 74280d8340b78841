"""Cutout against torchvision's erasing, and the law of its squares."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from cl_core.views.image_operations import distributions
from cl_core.views.image_operations.cutout import cutout


@pytest.mark.parametrize("channels", [1, 3])
def test_each_sample_loses_its_own_box(channels):
    images = torch.rand(5, channels, 20, 30, generator=torch.Generator().manual_seed(channels))
    holes = torch.tensor([[0, 0, 20, 30], [3, 4, 5, 6], [19, 29, 1, 1], [10, 0, 0, 7], [0, 25, 8, 5]])
    fill = [0.1, 0.2, 0.3][:channels]
    for image, hole, cut in zip(images, holes.tolist(), cutout(images, holes, fill=fill), strict=True):
        assert torch.equal(cut, reference.erase(image, *hole, v=torch.tensor(fill).view(-1, 1, 1)))


@pytest.mark.parametrize(("size", "share", "side"), [(32, 0.5, 16), (32, 0.25, 8), (28, 0.5, 14), (12, 0.25, 3)])
def test_squares_have_their_center_anywhere_and_end_at_the_border(size, share, side):
    grid = (np.arange(size) + 0.5) / size
    draws = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    holes = distributions.holes(draws, size=size, share=share)
    for (row, column), hole in zip(np.ndindex(size, size), holes.tolist(), strict=True):
        top, left = max(0, row - side // 2), max(0, column - side // 2)
        bottom, right = min(size, row - side // 2 + side), min(size, column - side // 2 + side)
        assert hole == [top, left, bottom - top, right - left]


def test_a_square_is_one_pixel_at_least():
    assert distributions.holes(np.array([[0.0, 0.999]]), size=8, share=0.01).tolist() == [[0, 7, 1, 1]]
