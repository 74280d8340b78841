"""The laws of the parameters, against closed forms and against torchvision's own sampler."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from cl_core.views.image_operations import distributions

AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
UNLIKELY = 1e-3  # the seeds are fixed, so a test that passes once passes always


def draws(count: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, width))


def test_area_is_uniform_and_ratio_log_uniform_where_every_box_fits():
    side, area = 4000, (0.1, 0.5)
    boxes = distributions.crop_boxes(
        draws(20_000, distributions.CROP_DRAWS), height=side, width=side, area=area, ratio=RATIO
    )
    _, _, heights, widths = boxes.T
    shares = heights * widths / side**2
    assert stats.kstest(shares, stats.uniform(0.1, 0.4).cdf).pvalue > UNLIKELY
    log_ratios = np.log(widths / heights)
    assert stats.kstest(log_ratios, stats.uniform(np.log(3 / 4), np.log(16 / 9)).cdf).pvalue > UNLIKELY


def test_position_is_uniform_over_all_places_where_the_box_fits():
    boxes = distributions.crop_boxes(
        draws(50_000, distributions.CROP_DRAWS), height=8, width=8, area=(0.25, 0.25), ratio=(1.0, 1.0)
    )
    assert np.array_equal(np.unique(boxes[:, 2:]), [4])
    places = np.bincount(5 * boxes[:, 0] + boxes[:, 1], minlength=25)
    assert len(places) == 25
    assert stats.chisquare(places).pvalue > UNLIKELY


@pytest.mark.parametrize(
    ("height", "width"),
    [(28, 28), (150, 40), *(pytest.param(*size, marks=pytest.mark.sweep) for size in [(32, 96), (20, 300)])],
)
def test_boxes_follow_the_law_of_torchvisions_random_resized_crop(height, width):
    """Rejected tries and the central fall-back included: the last shapes need them often."""
    image = torch.empty(1, height, width)
    torch.manual_seed(0)
    theirs = np.array([RandomResizedCrop.get_params(image, list(AREA), list(RATIO)) for _ in range(4000)])
    ours = distributions.crop_boxes(
        draws(20_000, distributions.CROP_DRAWS, seed=1), height=height, width=width, area=AREA, ratio=RATIO
    )
    for column in range(4):
        assert stats.ks_2samp(ours[:, column], theirs[:, column]).pvalue > UNLIKELY
    areas, their_areas = (boxes[:, 2] * boxes[:, 3] for boxes in (ours, theirs))
    assert stats.ks_2samp(areas, their_areas).pvalue > UNLIKELY


def test_boxes_lie_inside_the_image():
    for height, width in [(1, 1), (28, 28), (3, 200), (90, 7)]:
        top, left, box_height, box_width = distributions.crop_boxes(
            draws(5_000, distributions.CROP_DRAWS), height=height, width=width, area=AREA, ratio=RATIO
        ).T
        assert min(top.min(), left.min()) >= 0 and min(box_height.min(), box_width.min()) >= 1
        assert (top + box_height).max() <= height and (left + box_width).max() <= width


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [(10, 200, [0, 93, 10, 13]), (200, 10, [93, 0, 13, 10]), (28, 28, [0, 0, 28, 28]), (30, 36, [0, 0, 30, 36])],
)
def test_the_fall_back_is_the_largest_central_box_of_an_allowed_ratio(height, width, box):
    """An area of 1 never fits at these draws' ratios; by hand: 13 = round(10 * 4 / 3), 93 = (200 - 13) // 2."""
    never = np.full((1, distributions.CROP_DRAWS), 0.999)
    assert distributions.crop_boxes(never, height=height, width=width, area=(1.0, 1.0), ratio=RATIO).tolist() == [box]


def test_the_first_box_that_fits_is_taken():
    """Try 1 asks for the whole area at ratio 4/3, which does not fit; try 2 for a quarter of it at ratio 1."""
    numbers = np.zeros((1, distributions.CROP_DRAWS))
    numbers[0, :4] = [0.9999, 0.9999, (0.25 - 0.08) / 0.92, 0.5]
    numbers[0, -2:] = [0.5, 0.999]
    boxes = distributions.crop_boxes(numbers, height=20, width=20, area=AREA, ratio=RATIO)
    assert boxes.tolist() == [[5, 10, 10, 10]]


def test_factors_are_uniform_about_one_and_never_negative():
    numbers = draws(20_000, 1)[:, 0]
    assert stats.kstest(distributions.factors(numbers, 0.4), stats.uniform(0.6, 0.8).cdf).pvalue > UNLIKELY
    assert stats.kstest(distributions.factors(numbers, 1.5), stats.uniform(0, 2.5).cdf).pvalue > UNLIKELY
    assert np.array_equal(distributions.factors(numbers, 0.0), np.ones(20_000))


def test_all_orders_are_equally_likely():
    orders = distributions.orders(draws(24_000, 1)[:, 0])
    found, counts = np.unique(orders, axis=0, return_counts=True)
    assert found.tolist() == [list(order) for order in permutations(range(4))]
    assert stats.chisquare(counts).pvalue > UNLIKELY


def test_the_greatest_draw_still_gives_an_order():
    assert distributions.orders(np.array([1 - 2.0**-24])).tolist() == [[3, 2, 1, 0]]
