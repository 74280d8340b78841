"""The SimCLR policy: what decides a view, how often each operation is drawn, and how to switch each off."""

import numpy as np
import pytest
import torch

from cl_core.errors import SpecError
from cl_core.registry import VIEWS
from cl_core.seeding import uniforms
from cl_core.views import Normalization
from cl_core.views.operations.chain import ViewParameters
from cl_core.views.simclr import SimCLRViews

ALL_OFF = {
    "crop_area_min": 1.0,
    "flip_probability": 0.0,
    "jitter_probability": 0.0,
    "grayscale_probability": 0.0,
    "blur_probability": 0.0,
}


def make(policy, images, ids, *, seed=7, epoch=0, size=24, mean=0.0, std=1.0):
    channels = images.shape[-1]
    return policy(
        images,
        sample_ids=np.asarray(ids, dtype=np.uint64),
        seed=seed,
        epoch=epoch,
        size=size,
        normalization=Normalization((mean,) * channels, (std,) * channels),
    )


def random_images(count: int, channels: int, height: int = 24, width: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    return torch.randint(0, 256, (count, height, width, channels), dtype=torch.uint8, generator=generator)


def parameters_of(policy: SimCLRViews, ids: np.ndarray, *, seed: int = 0, stream: int = 0) -> ViewParameters:
    draws = uniforms(seed=seed, epoch=0, sample_ids=ids.astype(np.uint64), stream=stream, count=32)
    return policy.parameters(draws, height=28, width=28)


@pytest.mark.parametrize("channels", [1, 3])
def test_views_are_float32_of_the_asked_size_in_channels_last(channels):
    views = make(SimCLRViews(), random_images(6, channels, 30, 41), range(6), size=24)
    assert len(views) == SimCLRViews().count == 2
    for view in views:
        assert view.shape == (6, channels, 24, 24) and view.dtype == torch.float32
        assert view.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_gets_the_same_views_in_any_batch_and_at_any_place(channels):
    images, ids = random_images(64, channels), np.arange(64) * 2**40 + 5
    whole = make(SimCLRViews(), images, ids)
    order = np.random.default_rng(0).permutation(64)
    for part in (order, order[:17], np.array([3]), np.array([40, 40, 2])):
        for view, reference in zip(make(SimCLRViews(), images[part], ids[part]), whole, strict=True):
            assert torch.equal(view, reference[part])


def test_views_epochs_seeds_and_samples_differ():
    image = random_images(1, 3)
    first, second = make(SimCLRViews(), image, [1])
    others = [
        make(SimCLRViews(), image, [1], epoch=1)[0],
        make(SimCLRViews(), image, [1], seed=8)[0],
        make(SimCLRViews(), image, [2])[0],
        make(SimCLRViews(), image, [1 + 2**32])[0],
    ]
    everything = [first, second, *others]
    for i, view in enumerate(everything):
        for other in everything[:i]:
            assert (view - other).abs().max() > 0.05


def test_draws_of_neighbouring_samples_seeds_and_views_are_uncorrelated():
    ids = np.arange(20_000)
    base = parameters_of(SimCLRViews(), ids)
    shifted = parameters_of(SimCLRViews(), ids + 1)
    reseeded = parameters_of(SimCLRViews(), ids, seed=1)
    other_view = parameters_of(SimCLRViews(), ids, stream=1)
    for other in (shifted, reseeded, other_view):
        for name in ("brightness", "contrast", "saturation", "hue", "sigma", "flip", "blur"):
            pair = torch.stack([getattr(base, name).double(), getattr(other, name).double()])
            # The standard error of no correlation among 20,000 pairs is 0.007; 4 of them, 21 times.
            assert abs(torch.corrcoef(pair)[0, 1].item()) < 4 / 20_000**0.5


def test_draws_of_one_sample_are_uncorrelated_with_each_other():
    p = parameters_of(SimCLRViews(), np.arange(20_000))
    columns = [
        p.boxes[:, 2],
        p.flip,
        p.jitter,
        p.brightness,
        p.contrast,
        p.saturation,
        p.hue,
        p.grayscale,
        p.blur,
        p.sigma,
    ]
    correlations = torch.corrcoef(torch.stack([column.double() for column in columns]))
    assert (correlations - torch.eye(len(columns))).abs().max() < 4 / 20_000**0.5


@pytest.mark.parametrize(("flags", "probability"), [("flip", 0.5), ("jitter", 0.8), ("grayscale", 0.2), ("blur", 0.5)])
def test_operations_are_drawn_as_often_as_the_paper_says(flags, probability):
    drawn = getattr(parameters_of(SimCLRViews(), np.arange(40_000)), flags).double().mean().item()
    assert drawn == pytest.approx(probability, abs=4 * (probability * (1 - probability) / 40_000) ** 0.5)


def test_amounts_fill_their_ranges():
    p = parameters_of(SimCLRViews(), np.arange(40_000))
    for values, low, high in [
        (p.brightness, 0.6, 1.4),
        (p.contrast, 0.6, 1.4),
        (p.saturation, 0.6, 1.4),
        (p.hue, -0.1, 0.1),
        (p.sigma, 0.1, 2.0),
    ]:
        spread = high - low
        assert low <= values.min() < low + 1e-3 * spread and high - 1e-3 * spread < values.max() <= high
        assert values.double().mean().item() == pytest.approx((low + high) / 2, abs=4 * spread / 12**0.5 / 200)


@pytest.mark.parametrize("channels", [1, 3])
def test_with_everything_off_the_views_are_the_normalised_image(channels):
    images = random_images(8, channels)
    wanted = ((images.permute(0, 3, 1, 2) / 255) - 0.4) / 0.2
    for view in make(SimCLRViews(**ALL_OFF), images, range(8), mean=0.4, std=0.2):
        torch.testing.assert_close(view, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "on",
    [
        {"crop_area_min": 0.08},
        {"flip_probability": 1.0},
        {"jitter_probability": 1.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0},
        {"jitter_probability": 1.0, "brightness": 0.0, "saturation": 0.0, "hue": 0.0},
        {"jitter_probability": 1.0, "brightness": 0.0, "contrast": 0.0, "hue": 0.0},
        {"jitter_probability": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0},
        {"grayscale_probability": 1.0},
        {"blur_probability": 1.0, "blur_sigma_min": 0.5},  # below about 0.3 pixels nothing reaches the neighbours
    ],
)
def test_each_operation_alone_changes_the_image(on):
    images = random_images(8, 3)
    for view in make(SimCLRViews(**{**ALL_OFF, **on}), images, range(8)):
        changed = (view - images.permute(0, 3, 1, 2) / 255).abs().amax(dim=(1, 2, 3))
        assert (changed > 1e-3).sum() >= 7  # one sample's amount may happen to be next to nothing


def test_zero_strengths_are_the_same_as_no_jitter():
    images, zero = random_images(16, 3), {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    still, off = SimCLRViews(**zero), SimCLRViews(jitter_probability=0.0)
    for view, reference in zip(make(still, images, range(16)), make(off, images, range(16)), strict=True):
        assert torch.equal(view, reference)


def test_switching_one_operation_off_leaves_the_draws_of_all_others():
    ids = np.arange(500)
    full = parameters_of(SimCLRViews(), ids)
    less = parameters_of(SimCLRViews(blur_probability=0.0, hue=0.0, flip_probability=0.0, crop_area_max=0.5), ids)
    for name in ("jitter", "brightness", "contrast", "saturation", "order", "grayscale", "sigma"):
        assert torch.equal(getattr(full, name), getattr(less, name))


def test_one_channel_ignores_what_only_colours_have():
    images = random_images(16, 1)
    plain = SimCLRViews(grayscale_probability=0.0, saturation=0.0, hue=0.0)
    for view, reference in zip(make(SimCLRViews(), images, range(16)), make(plain, images, range(16)), strict=True):
        assert torch.equal(view, reference)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_area_min": 0.9, "crop_area_max": 0.5}, "crop_area_min is 0.9, above crop_area_max, which is 0.5"),
        ({"blur_sigma_min": 3.0}, "blur_sigma_min is 3, above blur_sigma_max, which is 2"),
        ({"hue": 0.6}, "training.views_options.hue: input should be less than or equal to 0.5; got 0.6"),
        ({"colour": 1}, "training.views_options.colour: there is no such option"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(SpecError, match=message):
        VIEWS.build("simclr", options, field="training.views")
