"""DACL: the maths of mixing, the law of the shares, and views of images and of vectors."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from view_batches import make, policy_of, random_images

from cl_core.columns import Column, Columns, SamplePool
from cl_core.errors import SpecError
from cl_core.rng import SampleRng
from cl_core.views.dacl_mixup import DACLMixupViews
from cl_core.views.image_operations.mixup import binary_mixup, geometric_mixup, linear_mixup

MIXINGS = ["linear", "geometric", "binary"]
SHAPES = [(6,), (3, 8, 8), (1, 5, 2, 2)]


def pair(shape, count=7):
    generator = torch.Generator().manual_seed(len(shape))
    first, second = torch.rand(2, count, *shape, generator=generator, dtype=torch.float64)
    return first, second, torch.linspace(0.5, 0.999, count, dtype=torch.float64)


def views_of(rows, split, ids, *, mixing="linear", alpha=0.5, epoch=0, count=2):
    ids = np.asarray(ids, dtype=np.uint64)
    pool = SamplePool(Columns({"rows": Column(split.numpy())}))
    (partners,) = pool.partners(SampleRng(0, epoch, ids), count=count)
    return mixed(rows, partners, ids, mixing=mixing, alpha=alpha, epoch=epoch)


def mixed(rows, partners, ids, *, mixing="linear", alpha=0.5, epoch=0):
    return DACLMixupViews(mixing=mixing, alpha=alpha).mixed(rows, partners, rng=SampleRng(0, epoch, ids))


@pytest.mark.parametrize("shape", SHAPES)
def test_means_are_the_papers_formulas_value_by_value(shape):
    first, second, shares = pair(shape)
    linear, geometric = linear_mixup(first, second, shares), geometric_mixup(first, second, shares)
    for index in np.ndindex(first.shape):
        x, other, share = first[index].item(), second[index].item(), shares[index[0]].item()
        assert linear[index].item() == pytest.approx(share * x + (1 - share) * other, abs=1e-12)
        assert geometric[index].item() == pytest.approx(x**share * other ** (1 - share), abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_takes_each_value_from_one_of_the_two(shape):
    first, second, _ = pair(shape)
    kept = torch.rand(first.shape, generator=torch.Generator().manual_seed(0)) < 0.6
    mixed = binary_mixup(first, second, kept)
    assert torch.equal(mixed[kept], first[kept]) and torch.equal(mixed[~kept], second[~kept])


def test_the_loss_is_the_value_computed_by_hand():
    ones, fours = torch.ones(1, 1), torch.full((1, 1), 4.0)
    half = torch.tensor([0.5])
    assert linear_mixup(ones, fours, half).item() == 2.5
    assert geometric_mixup(ones, fours, half).item() == pytest.approx(2)
    assert geometric_mixup(0 * ones, fours, half).item() == geometric_mixup(ones, 0 * fours, half).item() == 0


@pytest.mark.parametrize("alpha", [0.5, 0.9])
def test_shares_are_uniform_between_alpha_and_one_and_each_views_own(alpha):
    """Ones mixed with zeros show the share itself."""
    rows, partners = torch.ones(20_000, 1, dtype=torch.float64), torch.zeros(2, 20_000, 1, dtype=torch.float64)
    ids = np.arange(20_000, dtype=np.uint64)
    views = mixed(rows, partners, ids, alpha=alpha)
    first, second = (view[:, 0].numpy() for view in views)
    for shares in (first, second):
        assert stats.kstest(shares, stats.uniform(alpha, 1 - alpha).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / 20_000**0.5


def test_a_mask_keeps_its_share_of_the_values_and_each_position_equally_often():
    """Given its share, how many of 1,000 values a sample keeps is binomial: all of 200 within 4.5 deviations."""
    rows, partners = torch.ones(200, 1_000, dtype=torch.float64), torch.zeros(1, 200, 1_000, dtype=torch.float64)
    ids = np.arange(200, dtype=np.uint64)
    (of_shares,), (masks,) = (mixed(rows, partners, ids, mixing=mixing) for mixing in ("linear", "binary"))
    shares = of_shares[:, 0]
    deviations = (masks.mean(dim=1) - shares) / (shares * (1 - shares) / 1_000).sqrt()
    assert deviations.abs().max() < 4.5
    assert deviations.std().item() == pytest.approx(1, abs=0.2)
    # Each value is kept by about three quarters of the samples, the mean share.
    deviations = (masks.mean(dim=0) - shares.mean()) / ((shares * (1 - shares)).mean() / 200).sqrt()
    assert deviations.abs().max() < 4.5


def test_partner_and_share_are_independent():
    rows, split = torch.ones(20_000, 1, dtype=torch.float64), torch.zeros(100, 1, dtype=torch.float64)
    ids = np.arange(20_000)
    rng = SampleRng(0, 0, ids.astype(np.uint64))
    (drawn,) = SamplePool(Columns({"rows": Column(np.arange(100))})).partners(rng, count=2)
    partners = drawn.numpy()
    for view, positions in zip(views_of(rows, split, ids), partners, strict=True):
        assert abs(np.corrcoef(view[:, 0].numpy(), positions)[0, 1]) < 4 / 20_000**0.5


@pytest.mark.parametrize("mixing", MIXINGS)
def test_a_vector_gets_the_same_views_in_any_batch_and_on_any_number_of_workers(mixing):
    split, ids = torch.rand(64, 10, generator=torch.Generator().manual_seed(0)), np.arange(64) + 2**50
    whole = views_of(split, split, ids, mixing=mixing)
    shares = [share for workers in (2, 3) for share in np.array_split(np.arange(64), workers)]
    for part in (*shares, np.array([9, 9, 1])):
        for view, reference in zip(views_of(split[part], split, ids[part], mixing=mixing), whole, strict=True):
            assert torch.equal(view, reference[part])


@pytest.mark.parametrize("mixing", MIXINGS)
def test_a_sample_that_is_its_own_partner_stays_as_it_is(mixing):
    rows = torch.rand(5, 10, generator=torch.Generator().manual_seed(0))
    for view in views_of(rows[:1].expand(5, 10), rows[:1], range(5), mixing=mixing):
        torch.testing.assert_close(view, rows[:1].expand(5, 10), atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mixing", MIXINGS)
def test_views_of_images_are_those_of_their_pixels_as_vectors(mixing, channels):
    images, ids = random_images(12, channels), np.arange(12)
    pixels = (images / 255).permute(0, 3, 1, 2).flatten(1)
    wanted = views_of(pixels, pixels, ids, mixing=mixing)
    views = make(policy_of("dacl_mixup", mixing=mixing, alpha=0.5), images, ids, seed=0, mean=0.4, std=0.2)
    for view, rows in zip(views, wanted, strict=True):
        torch.testing.assert_close(view.flatten(1), (rows - 0.4) / 0.2, atol=1e-5, rtol=0)


def test_pixels_are_mixed_before_they_are_normalized():
    """A geometric mean of black and anything is black, whatever the normalization makes of black."""
    black, white = torch.zeros(3, 8, 8, 1, dtype=torch.uint8), torch.full((5, 8, 8, 1), 255, dtype=torch.uint8)
    for view in make(policy_of("dacl_mixup", mixing="geometric"), black, range(3), size=8, mean=0.5, split=white):
        assert torch.equal(view, torch.full((3, 1, 8, 8), -0.5))


def test_a_mask_of_more_values_than_there_are_draws_is_refused():
    side = math.isqrt(2**18 // 3) + 1
    rows = torch.zeros(1, 3 * side**2)
    with pytest.raises(SpecError, match=rf"262143 at most, but these have {3 * side**2}; choose linear or geometric"):
        views_of(rows, rows, [1], mixing="binary")
