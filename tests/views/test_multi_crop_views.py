"""Multi-crop: how many views, of which size, in which order, and of how much of the image."""

import numpy as np
import pytest
import torch
from scipy import stats
from view_batches import make, policy_of, random_images

from cl_core.rng import uniforms
from cl_core.views._chain_views import DRAWS


@pytest.mark.parametrize(("size", "local"), [(28, 12), (32, 14), (224, 96)])
def test_two_full_views_come_first_then_six_of_three_sevenths(size, local):
    views = make(policy_of("multi_crop"), random_images(2, 3), range(2), size=size)
    assert [tuple(view.shape) for view in views] == 2 * [(2, 3, size, size)] + 6 * [(2, 3, local, local)]


@pytest.mark.parametrize(("count", "share", "side"), [(1, 0.25, 7), (4, 0.5, 14), (32, 1.0, 28)])
def test_number_and_size_of_local_crops_are_options(count, share, side):
    policy = policy_of("multi_crop", local_count=count, local_share=share)
    views = make(policy, random_images(2, 1), range(2), size=28)
    assert policy.count == len(views) == 2 + count
    assert {view.shape[2] for view in views[2:]} == {side}


@pytest.mark.parametrize(("view", "low", "high"), [(0, 0.14, 0.5), (1, 0.14, 0.5), (2, 0.05, 0.14), (7, 0.05, 0.14)])
def test_areas_are_uniform_between_the_papers_limits(view, low, high):
    """Global crops up to half the image, so that every box fits and none is drawn again."""
    policy = policy_of("multi_crop", crop_area_max=0.5)
    draws = uniforms(seed=0, epoch=0, sample_ids=np.arange(20_000, dtype=np.uint64), stream=view, count=DRAWS)
    p = policy.parameters(draws, view=view, height=4000, width=4000, size=28)
    shares = p.boxes[:, 2:].prod(dim=1).numpy() / 4000**2
    assert stats.kstest(shares, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_a_local_crop_does_not_depend_on_how_many_there_are():
    images = random_images(4, 3)
    few, many = (make(policy_of("multi_crop", local_count=count), images, range(4)) for count in (2, 9))
    assert all(torch.equal(view, reference) for view, reference in zip(few, many, strict=False))


def test_a_square_that_is_cut_out_is_half_of_each_views_side():
    policy = policy_of("multi_crop", cutout_probability=1.0, without=["crop", "flip", "jitter", "grayscale", "blur"])
    white = torch.full((40, 28, 28, 1), 255, dtype=torch.uint8)
    for view, side in zip(make(policy, white, range(40), size=28, mean=0.25), 2 * [14] + 6 * [6], strict=True):
        hidden = (view == 0).sum(dim=(1, 2, 3))
        assert hidden.max() == side**2 and hidden.min() >= (side // 2) ** 2
