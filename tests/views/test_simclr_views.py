"""The SimCLR policy: how often each operation is drawn, how strong it is, and how to switch each off."""

import hashlib

import numpy as np
import pytest
import torch
from view_batches import make, parameters_of, random_images

from cl_core.errors import SpecError
from cl_core.registry import VIEWS
from cl_core.views.simclr import SimCLRViews

ALL_OFF = {
    "crop_area_min": 1.0,
    "flip_probability": 0.0,
    "jitter_probability": 0.0,
    "grayscale_probability": 0.0,
    "blur_probability": 0.0,
}
# Of 64 samples, written down before the policy could rotate, solarize and cut out: sha256 of what was drawn, and the
# mean of the views, which no change of these may move.
DRAWN = {
    0: {
        "boxes": "cc72d510ef4edc70",
        "flip": "2556278c7918a5f9",
        "jitter": "6a56f917873647dc",
        "brightness": "bf80b3c3887fb1a2",
        "contrast": "bcc382168dcca059",
        "saturation": "804df09b95edfb0e",
        "hue": "7272eb9f447f49c9",
        "order": "e87da5a4a813ce9b",
        "grayscale": "ed66ef90f7058272",
        "blur": "acd5882819e94484",
        "sigma": "a3e1ca296fdfb46e",
    },
    1: {
        "boxes": "a12072f5178b2f4f",
        "flip": "f79ff16154bad5b8",
        "jitter": "4b81da7d96ed31db",
        "brightness": "03267b8f58309d4c",
        "contrast": "cc79a638bfc24f05",
        "saturation": "56392294538b70d7",
        "hue": "55d2e1bc7fd13d13",
        "order": "6195b521c3dd94d5",
        "grayscale": "928ec9ba2babace5",
        "blur": "3028f7af0c82b587",
        "sigma": "0d0fa69e348b3001",
    },
}
MEANS = {1: (2649.119313120842 / 64 / 28**2, 2494.8947463035583 / 64 / 28**2)}
MEANS[3] = (7970.53715968132 / 64 / 28**2 / 3, 5421.322431564331 / 64 / 28**2 / 3)


@pytest.mark.parametrize("view", [0, 1])
def test_what_is_drawn_for_a_sample_stays_what_it_was(view):
    p = parameters_of(SimCLRViews(), np.arange(64) * 2**40 + 5, seed=7, epoch=3, view=view)
    drawn = {name: hashlib.sha256(getattr(p, name).numpy().tobytes()).hexdigest()[:16] for name in DRAWN[view]}
    assert drawn == DRAWN[view]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_views_of_a_sample_stay_what_they_were(channels):
    images, ids = random_images(64, channels, 28, 28), np.arange(64) * 2**40 + 5
    views = make(SimCLRViews(), images, ids, epoch=3, size=28, mean=0.5, std=0.25)
    assert [view.double().mean().item() for view in views] == pytest.approx(MEANS[channels], abs=1e-6)


def test_draws_of_neighboring_samples_seeds_and_views_are_uncorrelated():
    ids = np.arange(20_000)
    base = parameters_of(SimCLRViews(), ids)
    shifted = parameters_of(SimCLRViews(), ids + 1)
    reseeded = parameters_of(SimCLRViews(), ids, seed=1)
    other_view = parameters_of(SimCLRViews(), ids, view=1)
    for other in (shifted, reseeded, other_view):
        for name in ("brightness", "contrast", "saturation", "hue", "sigma", "flip", "blur"):
            pair = torch.stack([getattr(base, name).double(), getattr(other, name).double()])
            # The standard error of no correlation among 20,000 pairs is 0.007; 4 of them, 21 times.
            assert abs(torch.corrcoef(pair)[0, 1].item()) < 4 / 20_000**0.5


def test_draws_of_one_sample_are_uncorrelated_with_each_other():
    policy = SimCLRViews(rotation_probability=0.5, tilt_degrees=5, solarize_probability=0.5, cutout_probability=0.5)
    p = parameters_of(policy, np.arange(20_000))
    columns = [
        p.boxes[:, 2],
        p.flip,
        p.turns == 0,
        p.tilt,
        p.jitter,
        p.brightness,
        p.contrast,
        p.saturation,
        p.hue,
        p.grayscale,
        p.blur,
        p.sigma,
        p.solarize,
        p.cutout,
        p.holes[:, 0],
        p.holes[:, 1],
    ]
    correlations = torch.corrcoef(torch.stack([column.double() for column in columns]))
    assert (correlations - torch.eye(len(columns))).abs().max() < 4 / 20_000**0.5


def test_amounts_fill_their_ranges():
    p = parameters_of(SimCLRViews(tilt_degrees=15), np.arange(40_000))
    for values, low, high in [
        (p.brightness, 0.6, 1.4),
        (p.contrast, 0.6, 1.4),
        (p.saturation, 0.6, 1.4),
        (p.hue, -0.1, 0.1),
        (p.sigma, 0.1, 2.0),
        (p.tilt, -15, 15),
    ]:
        spread = high - low
        assert low <= values.min() < low + 1e-3 * spread and high - 1e-3 * spread < values.max() <= high
        assert values.double().mean().item() == pytest.approx((low + high) / 2, abs=4 * spread / 12**0.5 / 200)


@pytest.mark.parametrize("channels", [1, 3])
def test_with_everything_off_the_views_are_the_normalized_image(channels):
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
        {"blur_probability": 1.0, "blur_sigma_min": 0.5},  # below about 0.3 pixels nothing reaches the neighbors
        {"rotation_probability": 1.0},
        {"tilt_degrees": 30.0},
        {"solarize_probability": 1.0},
        {"cutout_probability": 1.0},
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


def test_quarter_turns_are_drawn_with_their_probability_and_are_equally_likely():
    turns = parameters_of(SimCLRViews(rotation_probability=0.6), np.arange(40_000)).turns
    shares = torch.bincount(turns, minlength=4) / 40_000
    torch.testing.assert_close(shares, torch.tensor([0.4, 0.2, 0.2, 0.2]), atol=4 * (0.24 / 40_000) ** 0.5, rtol=0)


def test_other_strengths_leave_the_draws_of_all_other_operations():
    ids = np.arange(500)
    full = parameters_of(SimCLRViews(), ids)
    less = parameters_of(SimCLRViews(blur_probability=0.0, hue=0.0, flip_probability=0.0, crop_area_max=0.5), ids)
    for name in ("jitter", "brightness", "contrast", "saturation", "order", "grayscale", "sigma"):
        assert torch.equal(getattr(full, name), getattr(less, name))


def test_one_channel_ignores_what_only_colors_have():
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
        ({"color": 1}, "training.views_options.color: there is no such option"),
        ({"view_count": 9}, "training.views_options.view_count: input should be less than or equal to 8; got 9"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(SpecError, match=message):
        VIEWS.build("simclr", options, field="training.views")
