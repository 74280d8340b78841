"""Crop, antialiased resize and flip against torchvision, one sample at a time."""

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from cl_core.views.image_operations.crop import resized_crop

# Weights and sums of at most a few dozen taps in float32: some tens of units in the last place of 1.
ROUNDING = 1e-5


def boxes_within(height: int, width: int, count: int, generator: torch.Generator) -> torch.Tensor:
    heights = torch.randint(1, height + 1, (count,), generator=generator)
    widths = torch.randint(1, width + 1, (count,), generator=generator)
    tops = (torch.rand(count, generator=generator) * (height - heights + 1)).long()
    lefts = (torch.rand(count, generator=generator) * (width - widths + 1)).long()
    return torch.stack([tops, lefts, heights, widths], dim=1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(28, 28, 28), (32, 32, 32), (96, 96, 32), (20, 20, 64), (70, 45, 24), (33, 150, 17), (250, 250, 7)],
)
def test_each_sample_is_torchvisions_resized_crop_of_its_box(height, width, size, channels):
    generator = torch.Generator().manual_seed(height * size + channels)
    images = torch.rand(24, channels, height, width, generator=generator)
    boxes = boxes_within(height, width, 24, generator)
    boxes[0] = torch.tensor([0, 0, height, width])
    boxes[1] = torch.tensor([height - 1, width - 1, 1, 1])
    flip = torch.arange(24) % 3 == 0
    crops = resized_crop(images, boxes=boxes, flip=flip, size=size)
    for image, box, mirrored, crop in zip(images, boxes.tolist(), flip, crops, strict=True):
        wanted = reference.resized_crop(image, *box, size=[size, size], antialias=True)
        wanted = reference.horizontal_flip(wanted) if mirrored else wanted
        torch.testing.assert_close(crop, wanted, atol=ROUNDING, rtol=0)


def test_a_box_of_the_output_size_comes_back_unchanged():
    images = torch.rand(4, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0, 0, 16, 16], [24, 34, 16, 16], [5, 7, 16, 16], [1, 30, 16, 16]])
    crops = resized_crop(images, boxes=boxes, flip=torch.zeros(4, dtype=torch.bool), size=16)
    for image, (top, left, height, width), crop in zip(images, boxes.tolist(), crops, strict=True):
        assert torch.equal(crop, image[:, top : top + height, left : left + width])


def test_pixels_outside_the_box_have_no_influence():
    images = torch.full((1, 1, 30, 30), torch.inf)
    images[:, :, 10:15, 10:15] = 0.25
    images = images.nan_to_num(posinf=1e30)
    crop = resized_crop(images, boxes=torch.tensor([[10, 10, 5, 5]]), flip=torch.tensor([False]), size=12)
    torch.testing.assert_close(crop, torch.full((1, 1, 12, 12), 0.25), atol=1e-6, rtol=0)


def test_memory_format_does_not_change_the_result():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(8, 3, 40, 40, generator=generator)
    boxes, flip = boxes_within(40, 40, 8, generator), torch.arange(8) % 2 == 0
    planes = resized_crop(images, boxes=boxes, flip=flip, size=32)
    pixels = resized_crop(images.to(memory_format=torch.channels_last), boxes=boxes, flip=flip, size=32)
    assert torch.equal(planes, pixels)
