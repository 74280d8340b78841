"""Color operations against torchvision and against hand-made colors."""

from itertools import permutations

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from cl_core.views.image_operations.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    color_jitter,
    grayscale,
    luma,
)

ROUNDING = 1e-5
# torchvision weighs red by 0.2989 where ITU-R BT.601 says 0.299: at most 1e-4 of luma, times |1 - factor| <= 1.
LUMA = 1.1e-4


def images_of(channels: int, size: int = 20, count: int = 24) -> torch.Tensor:
    """Noise, and a few images with what is special in HSV: grays, pure colors, black, white, two equal channels."""
    images = torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(size + channels))
    images[0] = 0
    images[1] = 1
    images[2] = images[2, :1]
    images[3] = (images[3] > 0.5).float()
    images[4, -1] = images[4, 0]
    return images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("adjust", "oracle", "low", "high", "tolerance"),
    [
        (adjust_brightness, reference.adjust_brightness, 0.0, 2.0, ROUNDING),
        (adjust_contrast, reference.adjust_contrast, 0.0, 2.0, LUMA),
        (adjust_saturation, reference.adjust_saturation, 0.0, 2.0, LUMA),
        (adjust_hue, reference.adjust_hue, -0.5, 0.5, ROUNDING),
    ],
)
def test_each_sample_is_adjusted_by_its_own_amount(adjust, oracle, low, high, tolerance, channels):
    images = images_of(channels)
    amounts = torch.linspace(low, high, len(images))
    for image, amount, adjusted in zip(images, amounts.tolist(), adjust(images, amounts), strict=True):
        torch.testing.assert_close(adjusted, oracle(image, amount), atol=tolerance, rtol=0)


def test_a_third_of_a_turn_takes_red_to_green_to_blue():
    red = torch.tensor([0.8, 0.2, 0.2]).view(1, 3, 1, 1)
    third = torch.tensor([1 / 3])
    green = adjust_hue(red, third)
    torch.testing.assert_close(green.flatten(), torch.tensor([0.2, 0.8, 0.2]), atol=1e-6, rtol=0)
    torch.testing.assert_close(adjust_hue(green, third).flatten(), torch.tensor([0.2, 0.2, 0.8]), atol=1e-6, rtol=0)


def test_neutral_amounts_change_nothing():
    images = images_of(3)
    ones = torch.ones(len(images))
    assert torch.equal(adjust_brightness(images, ones), images)
    torch.testing.assert_close(adjust_contrast(images, ones), images, atol=1e-6, rtol=0)
    torch.testing.assert_close(adjust_saturation(images, ones), images, atol=1e-6, rtol=0)
    torch.testing.assert_close(adjust_hue(images, 0 * ones), images, atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_follows_each_samples_own_order(channels):
    images = images_of(channels, size=9, count=24)
    order = torch.tensor(list(permutations(range(4))))
    generator = torch.Generator().manual_seed(5)
    factors = 0.2 + 1.6 * torch.rand(3, 24, generator=generator)
    hue = torch.rand(24, generator=generator) * 0.4 - 0.2
    jittered = color_jitter(
        images, brightness=factors[0], contrast=factors[1], saturation=factors[2], hue=hue, order=order
    )
    oracles = (
        reference.adjust_brightness,
        reference.adjust_contrast,
        reference.adjust_saturation,
        reference.adjust_hue,
    )
    amounts = torch.stack([*factors, hue], dim=1)
    for sample, result in enumerate(jittered):
        wanted = images[sample]
        for number in order[sample].tolist():
            wanted = oracles[number](wanted, amounts[sample, number].item())
        # An early difference in luma is scaled by the later factors, 1.8 each at most.
        torch.testing.assert_close(result, wanted, atol=1.8**2 * LUMA, rtol=0)


def test_jitter_with_neutral_amounts_returns_the_images_bit_by_bit():
    images = images_of(3)
    ones, order = torch.ones(len(images)), torch.arange(4).expand(len(images), 4)
    jittered = color_jitter(images, brightness=ones, contrast=ones, saturation=ones, hue=0 * ones, order=order)
    assert torch.equal(jittered, images)


def test_jitter_does_not_change_its_input():
    images = images_of(3)
    before, halves = images.clone(), torch.full((len(images),), 0.5)
    order = torch.arange(4).expand(len(images), 4)
    color_jitter(images, brightness=halves, contrast=halves, saturation=halves, hue=halves, order=order)
    assert torch.equal(images, before)


def test_grayscale_agrees_with_torchvision_up_to_its_rounding_of_the_weight_of_red():
    images = images_of(3)
    torch.testing.assert_close(
        grayscale(images), reference.rgb_to_grayscale(images, num_output_channels=3), atol=LUMA, rtol=0
    )


def test_white_stays_white_and_one_channel_stays_as_it_is():
    assert luma(torch.ones(1, 3, 1, 1)).item() == pytest.approx(1, abs=1e-6)
    images = images_of(1)
    assert torch.equal(grayscale(images), images)
