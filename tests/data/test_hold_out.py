"""What is held out of the training split: how much of each class, which samples, and that the rest is all there."""

import math

import numpy as np
import pytest

from cl_core.data.cache import ImageSplit
from cl_core.data.sampling import held_out_counts, hold_out


def split_of(labels: list[int] | None, rows: int) -> ImageSplit:
    """Images that say their number, sorted by id."""
    numbers = np.arange(rows)
    ids = np.zeros((rows, 32), np.uint8)
    ids[:, 0], ids[:, 1] = numbers // 256, numbers % 256
    images = np.zeros((rows, 2, 2, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = numbers // 256, numbers % 256
    return ImageSplit(images, ids, numbers.astype(np.uint64), None if labels is None else np.array(labels))


def numbers_in(split: ImageSplit) -> list[int]:
    """The samples, checked to be the same ones in every array."""
    numbers = split.sample_ids.astype(int).tolist()
    assert (256 * split.images[:, 0, 0, 0].astype(int) + split.images[:, 0, 1, 0]).tolist() == numbers
    assert (256 * split.ids[:, 0].astype(int) + split.ids[:, 1]).tolist() == numbers
    return numbers


@pytest.mark.parametrize(
    ("sizes", "share", "counts"),
    [
        ([50, 50], 0.02, [1, 1]),
        ([49, 51], 0.02, [0, 2]),
        ([6000] * 10, 0.02, [120] * 10),
        ([10] * 10, 0.02, [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]),
        ([10, 0, 10], 0.5, [5, 0, 5]),
        ([100], 0.0, [0]),
        ([], 0.5, []),
    ],
)
def test_each_class_gives_its_share_and_all_together_the_share_of_all(
    sizes: list[int], share: float, counts: list[int]
) -> None:
    found = held_out_counts(sizes, share)
    assert found.tolist() == counts
    assert found.sum() == math.floor(share * sum(sizes))


def test_of_each_class_the_least_hashes_are_held_out_and_none_without_a_label() -> None:
    labels = [number % 3 - 1 for number in range(3000)]  # -1, 0, 1, -1, ...
    trained, held_out = hold_out(split_of(labels, 3000), 0.01)
    assert held_out is not None and held_out.labels is not None and trained.labels is not None
    assert numbers_in(held_out) == sorted([*range(1, 31, 3), *range(2, 32, 3)])
    assert held_out.labels.tolist() == [0, 1] * 10
    kept = numbers_in(trained)
    assert kept == sorted(set(range(3000)) - set(numbers_in(held_out)))
    assert trained.labels.tolist() == [number % 3 - 1 for number in kept]


def test_images_are_held_in_memory_once() -> None:
    split = split_of([0] * 2500, 2500)
    trained, _ = hold_out(split, 0.02)
    assert np.shares_memory(trained.images, split.images)
    assert numbers_in(trained) == list(range(50, 2500))


@pytest.mark.parametrize(("labels", "share"), [(None, 0.5), ([0] * 10, 0.0), ([0] * 10, 0.09), ([-1] * 10, 0.5)])
def test_where_there_is_nothing_to_hold_out_the_split_is_left_as_it_is(labels: list[int] | None, share: float) -> None:
    split = split_of(labels, 10)
    assert hold_out(split, share) == (split, None)
