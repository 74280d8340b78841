"""Views of vectors: SCARF's corruption, and noise."""

import numpy as np
import pytest
import scipy.stats
import torch

from cl_core.columns import Column, Columns, SamplePool
from cl_core.modalities._vector_processor import VectorProcessor
from cl_core.registry import VIEWS
from cl_core.rng import SampleRng

WIDTH = 10


def plain(width: int = WIDTH, *, masked: bool = False) -> VectorProcessor:
    """A processor that leaves values as they are."""
    return VectorProcessor(np.zeros(width, np.float32), np.ones(width, np.float32), masked=masked)


def made(
    name: str, rows: np.ndarray, split: np.ndarray, *, processor: VectorProcessor | None = None, **options: object
):
    policy = VIEWS.build(name, options, field="views")
    return policy(
        (torch.from_numpy(rows),),
        rng=SampleRng(1, 2, np.arange(len(rows), dtype=np.uint64)),
        processor=processor or plain(rows.shape[1]),
        pool=SamplePool(Columns({"vector": Column(split)})),
    )


@pytest.mark.parametrize(("rate", "replaced"), [(0.0, 0), (0.3, 3), (0.6, 6), (0.69, 6), (1.0, 10)])
def test_exactly_the_floor_of_the_rate_is_replaced_and_the_first_view_is_the_sample(rate: float, replaced: int) -> None:
    rows, split = np.zeros((500, WIDTH), np.float32), np.ones((40, WIDTH), np.float32)
    clean, corrupted = made("scarf", rows, split, corruption_rate=rate)
    assert torch.equal(clean, torch.zeros(500, WIDTH))
    assert (corrupted.sum(dim=1) == replaced).all()


def test_which_values_are_replaced_is_the_same_for_all() -> None:
    """Each of ten values is replaced in 60 % of 20,000 samples: chi squared with 9 degrees of freedom."""
    rows, split = np.zeros((20_000, WIDTH), np.float32), np.ones((40, WIDTH), np.float32)
    _, corrupted = made("scarf", rows, split)
    counts = corrupted.sum(dim=0).numpy()
    # Drawn without replacement, the counts vary less than those of independent draws: by (1 - 0.6) * 10 / 9.
    assert ((counts - 12_000) ** 2 / 12_000 / (0.4 * 10 / 9)).sum() < scipy.stats.chi2.ppf(0.999, 9)


def test_a_replaced_value_is_drawn_from_the_training_values_of_its_own_column() -> None:
    """Column i holds i * 10 + 0..4, of which 0 is twice as frequent."""
    levels = np.array([0, 0, 1, 2, 3, 4])
    split = (np.arange(WIDTH) * 10 + levels[:, None]).astype(np.float32)
    _, corrupted = made("scarf", np.full((6000, WIDTH), -1, np.float32), split, corruption_rate=1)
    found = corrupted.numpy() - np.arange(WIDTH) * 10
    for column in range(WIDTH):
        counts = np.bincount(found[:, column].astype(int), minlength=5)
        assert scipy.stats.chisquare(counts, [2000, 1000, 1000, 1000, 1000]).pvalue > 1e-4
    # Values of a row come from different samples.
    assert abs(np.corrcoef(found[:, 0], found[:, 1])[0, 1]) < 0.05


def test_a_category_is_replaced_as_a_whole_and_counts_as_one_column() -> None:
    """Two numbers and a category of three levels: of the training samples, level i occurs i + 1 times."""
    columns = np.array([0, 1, 1, 1, 2])
    levels = np.eye(3, dtype=np.float32)[[0, 1, 1, 2, 2, 2]]
    split = np.concatenate([np.full((6, 1), 5), levels, np.full((6, 1), 5)], axis=1).astype(np.float32)
    processor = VectorProcessor(np.zeros(5, np.float32), np.ones(5, np.float32), masked=False, columns=columns)
    rows = np.full((6000, 5), -1, np.float32)
    _, corrupted = made("scarf", rows, split, processor=processor, corruption_rate=0.34)
    values = corrupted.numpy()
    replaced = np.stack([values[:, 0] == 5, (values[:, 1:4] >= 0).all(axis=1), values[:, 4] == 5], axis=1)
    assert (replaced.sum(axis=1) == 1).all()  # floor(0.34 * 3)
    assert scipy.stats.chisquare(replaced.sum(axis=0)).pvalue > 1e-3
    category = values[replaced[:, 1], 1:4]
    assert (category.sum(axis=1) == 1).all() and (values[~replaced[:, 1], 1:4] == -1).all()
    assert scipy.stats.chisquare(category.sum(axis=0), len(category) * np.array([1, 2, 3]) / 6).pvalue > 1e-3


def test_columns_of_one_value_each_are_replaced_as_if_none_were_named() -> None:
    rows = np.random.default_rng(0).normal(size=(50, WIDTH)).astype(np.float32)
    named = VectorProcessor(
        np.zeros(WIDTH, np.float32), np.ones(WIDTH, np.float32), masked=False, columns=np.arange(WIDTH)
    )
    plain_views, views = made("scarf", rows, rows), made("scarf", rows, rows, processor=named)
    assert all(torch.equal(one, other) for one, other in zip(plain_views, views, strict=True))


def test_both_views_may_be_corrupted_and_then_differ() -> None:
    rows = np.random.default_rng(0).normal(size=(50, WIDTH)).astype(np.float32)
    first, second = made("scarf", rows, rows, corrupted="both")
    assert not torch.equal(first, second) and not torch.equal(first, torch.from_numpy(rows))


def test_a_missing_value_of_another_sample_is_missing_in_the_view() -> None:
    split = np.full((5, WIDTH), np.nan, np.float32)
    _, corrupted = made("scarf", np.ones((8, WIDTH), np.float32), split, processor=plain(masked=True))
    assert (corrupted[:, WIDTH:].sum(dim=1) == 6).all() and (corrupted[:, :WIDTH].sum(dim=1) == 4).all()


def test_noise_is_normal_in_units_of_the_standard_deviation_and_independent_in_the_two_views() -> None:
    rows = np.full((4000, 4), 7, np.float32)
    processor = VectorProcessor(np.full(4, 7, np.float32), np.full(4, 2, np.float32), masked=False)
    views = [view.numpy() for view in made("noise", rows, rows, processor=processor, scale=0.5)]
    for view in views:
        assert scipy.stats.kstest(view.ravel() / 0.5, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(views[0].ravel(), views[1].ravel())[0, 1]) < 0.03
    one = made("noise", rows, rows, processor=processor, noisy="one")
    assert torch.equal(one[0], torch.zeros(4000, 4)) and not torch.equal(one[1], one[0])


def test_noise_leaves_the_mask_of_missing_values_alone() -> None:
    rows = np.array([[1, np.nan], [np.nan, 1]], np.float32)
    for view in made("noise", rows, rows, processor=plain(2, masked=True)):
        assert view[:, 2:].tolist() == [[0, 1], [1, 0]]
