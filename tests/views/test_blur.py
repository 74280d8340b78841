"""Gaussian blur against torchvision, one sample at a time."""

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from cl_core.views.image_operations.blur import gaussian_blur, kernel_radius


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "radius"), [(2, 1), (28, 1), (39, 1), (40, 2), (96, 4), (224, 11)])
def test_each_sample_is_blurred_by_its_own_sigma(size, radius, channels):
    assert kernel_radius(size) == radius
    images = torch.rand(5, channels, size, size, generator=torch.Generator().manual_seed(size))
    sigmas = torch.tensor([0.1, 0.4, 0.9, 1.5, 2.0])
    for image, sigma, blurred in zip(images, sigmas.tolist(), gaussian_blur(images, sigmas), strict=True):
        wanted = reference.gaussian_blur(image, kernel_size=[2 * radius + 1] * 2, sigma=[sigma] * 2)
        # A weighted mean of at most 23 x 23 values below 1, in another order of summation.
        torch.testing.assert_close(blurred, wanted, atol=1e-5, rtol=0)


def test_a_point_becomes_the_gaussian():
    point = torch.zeros(1, 1, 28, 28)
    point[..., 14, 14] = 1
    blurred = gaussian_blur(point, torch.tensor([1.0]))[0, 0, 14, 12:17]
    edge = torch.exp(torch.tensor(-0.5))
    center = 1 / (1 + 2 * edge)
    wanted = torch.stack([0 * edge, edge * center, center, edge * center, 0 * edge]) * center
    torch.testing.assert_close(blurred, wanted, atol=1e-6, rtol=0)
