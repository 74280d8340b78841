"""Rotation against torchvision, one sample at a time."""

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from cl_core.views.image_operations.rotation import quarter_turns, tilt


def images_of(count: int, channels: int, size: int) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(size + channels))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [1, 12, 27, 28])
def test_quarter_turns_are_torchvisions_rotations_by_90_degrees(size, channels):
    images, turns = images_of(8, channels, size), torch.arange(8) % 4
    for image, number, turned in zip(images, turns.tolist(), quarter_turns(images, turns), strict=True):
        assert torch.equal(turned, reference.rotate(image, 90.0 * number))


def test_a_quarter_turn_is_counterclockwise():
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    assert quarter_turns(image, torch.tensor([1])).tolist() == [[[[2, 4], [1, 3]]]]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 27, 28, 96])
def test_each_sample_is_tilted_by_its_own_angle(size, channels):
    images = images_of(9, channels, size)
    degrees = torch.tensor([-180.0, -90.0, -45.0, -15.0, 0.0, 0.5, 15.0, 30.0, 77.0])
    for image, angle, tilted in zip(images, degrees.tolist(), tilt(images, degrees), strict=True):
        wanted = reference.rotate(image, angle, interpolation=InterpolationMode.BILINEAR)
        # Places are off by up to half the size times a few units in the last place of 1; neighbors differ by up to 1.
        torch.testing.assert_close(tilted, wanted, atol=size * 1e-6, rtol=0)


def test_tilting_by_a_quarter_turn_is_a_quarter_turn():
    images = images_of(2, 3, 28)
    tilted = tilt(images, torch.tensor([90.0, -90.0]))
    torch.testing.assert_close(tilted, quarter_turns(images, torch.tensor([1, 3])), atol=1e-4, rtol=0)
