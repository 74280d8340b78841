"""What holds for every view policy: what decides a view, how often operations are drawn, and what `without` does."""

from dataclasses import fields
from typing import get_args

import numpy as np
import pytest
import torch
from scipy import stats
from view_batches import CHAINS, POLICIES, make, parameters_of, policy_of, random_images

from cl_core.errors import SpecError
from cl_core.views._options import Operation
from cl_core.views.image_operations.chain import ViewParameters

ALL_ON = {
    "rotation_probability": 0.5,
    "tilt_degrees": 10.0,
    "solarize_probability": 0.5,
    "cutout_probability": 0.5,
}
# What each operation decides, and its value when nothing is done.
DECIDES = {
    "crop": ("boxes", [0, 0, 28, 28]),
    "flip": ("flip", False),
    "rotation": ("turns", 0),
    "tilt": ("tilt", 0),
    "jitter": ("jitter", False),
    "brightness": ("brightness", 1),
    "contrast": ("contrast", 1),
    "saturation": ("saturation", 1),
    "hue": ("hue", 0),
    "grayscale": ("grayscale", False),
    "blur": ("blur", False),
    "solarize": ("solarize", False),
    "cutout": ("cutout", False),
}
every_policy = pytest.mark.parametrize("name", POLICIES)
every_chain = pytest.mark.parametrize("name", CHAINS)


def test_the_policies_are_these():
    assert POLICIES == ["dacl_mixup", "moco_v2", "moco_v3", "multi_crop", "simclr"]


@every_policy
def test_every_option_has_a_title_a_description_and_bounds(name):
    for option, schema in type(policy_of(name)).model_json_schema()["properties"].items():
        assert schema["title"] and schema["description"].endswith("."), option
        bounded = {"minimum", "exclusiveMinimum"} & set(schema) and {"maximum", "exclusiveMaximum"} & set(schema)
        assert bounded or "enum" in schema or schema["type"] == "array", option


@every_policy
@pytest.mark.parametrize("channels", [1, 3])
def test_views_are_float32_in_channels_last_and_at_most_of_the_requested_size(name, channels):
    policy = policy_of(name)
    # Mixing keeps the size of the images, which are cached at that of the views.
    height, width = (30, 41) if name in CHAINS else (24, 24)
    views = make(policy, random_images(6, channels, height, width), range(6), size=24)
    assert len(views) == policy.count
    for view in views:
        assert view.shape[:2] == (6, channels) and view.shape[2] == view.shape[3] and view.dtype == torch.float32
        assert view.is_contiguous(memory_format=torch.channels_last)
    assert [view.shape[2] for view in views[:2]] == [24, 24]


@every_policy
@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_gets_the_same_views_in_any_batch_at_any_place_and_on_any_number_of_workers(name, channels):
    policy = policy_of(name, **(ALL_ON if name in CHAINS else {}))
    images, ids = random_images(64, channels), np.arange(64) * 2**40 + 5
    whole = make(policy, images, ids)
    order = np.random.default_rng(0).permutation(64)
    shares = [share for workers in (1, 2, 3) for share in np.array_split(order, workers)]
    for part in (*shares, np.array([3]), np.array([40, 40, 2])):
        for view, reference in zip(make(policy, images[part], ids[part], split=images), whole, strict=True):
            assert torch.equal(view, reference[part])


@every_policy
def test_views_epochs_seeds_and_samples_differ(name):
    policy, image, split = policy_of(name), random_images(1, 3), random_images(50, 3)
    first, second = make(policy, image, [1], split=split)[:2]
    others = [
        make(policy, image, [1], epoch=1, split=split)[0],
        make(policy, image, [1], seed=8, split=split)[0],
        make(policy, image, [2], split=split)[0],
        make(policy, image, [1 + 2**32], split=split)[0],
    ]
    everything = [first, second, *others]
    for i, view in enumerate(everything):
        for other in everything[:i]:
            assert (view - other).abs().max() > 0.05


@pytest.mark.parametrize(
    ("name", "view", "blur", "solarize"),
    [
        ("simclr", 0, 0.5, 0),
        ("simclr", 1, 0.5, 0),
        ("moco_v2", 0, 0.5, 0),
        ("moco_v3", 0, 1, 0),
        ("moco_v3", 1, 0.1, 0.2),
        ("multi_crop", 1, 0.5, 0),
        ("multi_crop", 7, 0.5, 0),
    ],
)
def test_operations_are_drawn_with_the_probabilities_of_the_papers(name, view, blur, solarize):
    p = parameters_of(policy_of(name), np.arange(40_000), view=view)
    probabilities = {"flip": 0.5, "jitter": 0.8, "grayscale": 0.2, "blur": blur, "solarize": solarize, "cutout": 0}
    for flags, probability in probabilities.items():
        drawn = getattr(p, flags).double().mean().item()
        assert drawn == pytest.approx(probability, abs=4 * (probability * (1 - probability) / 40_000) ** 0.5)
    assert not p.turns.any() and not p.tilt.any()


@pytest.mark.parametrize(
    ("name", "view", "area", "colors"),
    [
        ("simclr", 1, (0.08, 1), (0.4, 0.4, 0.4, 0.1)),
        ("moco_v2", 1, (0.2, 1), (0.4, 0.4, 0.4, 0.1)),
        ("moco_v3", 0, (0.2, 1), (0.4, 0.4, 0.2, 0.1)),
        ("moco_v3", 1, (0.2, 1), (0.4, 0.4, 0.2, 0.1)),
        ("multi_crop", 0, (0.14, 1), (0.8, 0.8, 0.8, 0.2)),
        ("multi_crop", 1, (0.14, 1), (0.8, 0.8, 0.8, 0.2)),
        ("multi_crop", 2, (0.05, 0.14), (0.8, 0.8, 0.8, 0.2)),
        ("multi_crop", 7, (0.05, 0.14), (0.8, 0.8, 0.8, 0.2)),
    ],
)
def test_crops_and_colors_follow_the_papers_laws(name, view, area, colors):
    policy = policy_of(name)
    assert policy.law(view).area == area
    p = parameters_of(policy, np.arange(20_000), view=view)
    for values, strength in zip((p.brightness, p.contrast, p.saturation), colors[:3], strict=True):
        assert stats.kstest(values.numpy(), stats.uniform(1 - strength, 2 * strength).cdf).pvalue > 1e-3
    assert stats.kstest(p.hue.numpy(), stats.uniform(-colors[3], 2 * colors[3]).cdf).pvalue > 1e-3
    assert stats.kstest(p.sigma.numpy(), stats.uniform(0.1, 1.9).cdf).pvalue > 1e-3


def test_each_name_in_without_decides_something():
    assert set(DECIDES) == set(get_args(Operation))


@every_chain
@pytest.mark.parametrize("operation", DECIDES)
def test_without_an_operation_all_others_are_drawn_as_before(name, operation):
    full, less = policy_of(name, **ALL_ON), policy_of(name, **ALL_ON, without=[operation])
    decided, nothing = DECIDES[operation]
    for view in (0, full.count - 1):
        before, after = (parameters_of(policy, np.arange(300), view=view) for policy in (full, less))
        for field in fields(ViewParameters):
            drawn = getattr(after, field.name)
            if field.name == decided:
                assert torch.equal(drawn, torch.tensor(nothing, dtype=drawn.dtype).expand_as(drawn))
                assert not torch.equal(drawn, getattr(before, field.name))
            else:
                assert torch.equal(drawn, getattr(before, field.name)), field.name


@every_chain
@pytest.mark.parametrize("channels", [1, 3])
def test_without_anything_a_full_view_is_the_normalized_image(name, channels):
    policy, images = policy_of(name, **ALL_ON, without=list(DECIDES)), random_images(8, channels)
    wanted = ((images.permute(0, 3, 1, 2) / 255) - 0.4) / 0.2
    for view in make(policy, images, range(8), mean=0.4, std=0.2)[:2]:
        torch.testing.assert_close(view, wanted, atol=1e-6, rtol=0)


def test_without_mixing_both_views_are_the_normalized_image():
    policy, images = policy_of("dacl_mixup", without=["mixup"]), random_images(8, 3)
    wanted = ((images.permute(0, 3, 1, 2) / 255) - 0.4) / 0.2
    for view in make(policy, images, range(8), mean=0.4, std=0.2):
        torch.testing.assert_close(view, wanted, atol=1e-6, rtol=0)


def test_one_set_of_operations_has_one_spelling():
    assert policy_of("simclr", without=["hue", "blur", "hue"]) == policy_of("simclr", without=("blur", "hue"))


@every_chain
def test_an_unknown_operation_is_refused_with_the_list(name):
    with pytest.raises(SpecError) as refused:
        policy_of(name, without=["blur", "color"])
    assert str(refused.value).startswith("training.views_options.without.1: input should be 'crop', 'flip', ")
    assert str(refused.value).endswith("'solarize' or 'cutout'; got 'color'")


@pytest.mark.parametrize("name", ["simclr", "moco_v2"])
def test_a_sample_may_have_one_to_eight_views_and_the_first_are_the_same(name):
    images = random_images(4, 1)
    eight = make(policy_of(name, view_count=8), images, range(4))
    for count in (1, 2, 5):
        views = make(policy_of(name, view_count=count), images, range(4))
        assert len(views) == count
        assert all(torch.equal(view, reference) for view, reference in zip(views, eight, strict=False))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("moco_v2", {"view_count": 0}, "training.views_options.view_count: input should be greater than or equal to 1"),
        ("moco_v3", {"view_count": 3}, "training.views_options.view_count: there is no such option"),
        ("moco_v3", {"blur_probability_second": 2}, "training.views_options.blur_probability_second: input should be"),
        ("multi_crop", {"local_area_min": 0.5}, "local_area_min is 0.5, above local_area_max, which is 0.14"),
        ("multi_crop", {"local_count": 0}, "training.views_options.local_count: input should be greater than or equal"),
        ("dacl_mixup", {"alpha": 0.4}, "training.views_options.alpha: input should be greater than or equal to 0.5"),
        (
            "dacl_mixup",
            {"mixing": "cut"},
            "training.views_options.mixing: input should be 'linear', 'geometric' or 'bi",
        ),
        ("dacl_mixup", {"without": ["crop"]}, "training.views_options.without.0: input should be 'mixup'; got 'crop'"),
    ],
)
def test_wrong_options_are_named_with_their_full_path(name, options, message):
    with pytest.raises(SpecError, match=message):
        policy_of(name, **options)
