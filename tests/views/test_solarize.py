"""Solarization against torchvision, one sample at a time."""

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from cl_core.views.image_operations.color import solarize


@pytest.mark.parametrize("channels", [1, 3])
def test_each_sample_is_inverted_from_its_own_threshold_on(channels):
    images = torch.randint(0, 256, (6, channels, 9, 9), generator=torch.Generator().manual_seed(channels)) / 255
    thresholds = torch.tensor([0.0, 0.2, 128 / 255, 0.5, 0.9, 1.0])
    for image, threshold, solarized in zip(images, thresholds, solarize(images, thresholds), strict=True):
        assert torch.equal(solarized, reference.solarize(image, threshold.item()))


def test_the_loss_is_the_value_computed_by_hand():
    image = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]).view(1, 1, 1, 5)
    assert solarize(image, torch.tensor([0.5])).flatten().tolist() == [0, 0.25, 0.5, 0.25, 0]
