"""Which samples are trained on and meet: what is held out, what an epoch holds, and how it is shared out."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_core.columns import Column, Columns, Split
from cl_core.data.sampling import (
    class_balanced_batches,
    class_balanced_count,
    held_out_counts,
    hold_out,
    share_of,
    shuffled_batches,
)
from cl_core.rng import permutation


def shuffled(*, seed=0, epoch=0, rows=100, batch_size=16):
    return shuffled_batches(seed=seed, epoch=epoch, rows=rows, batch_size=batch_size)


def labels_of(sizes, *, unlabeled=0, seed=0):
    """Labels of classes of these sizes and of some samples without one, in random order."""
    labels = np.repeat([*range(len(sizes)), -1], [*sizes, unlabeled])
    return np.random.default_rng(seed).permutation(labels)


def balanced(labels, *, classes, each, seed=0, epoch=0):
    return class_balanced_batches(
        seed=seed,
        epoch=epoch,
        labels=labels,
        batch_size=classes * each,
        samples_per_class=each,
    )


def test_a_shuffled_epoch_visits_every_sample_once():
    assert np.array_equal(np.sort(shuffled(rows=96).flatten()), np.arange(96))


def test_samples_that_fill_no_batch_wait_for_another_epoch():
    first, second = shuffled(epoch=0), shuffled(epoch=1)
    assert first.shape == second.shape == (6, 16)
    left_out = [set(range(100)) - set(batches.flatten()) for batches in (first, second)]
    assert [len(samples) for samples in left_out] == [4, 4] and left_out[0] != left_out[1]


def test_a_shuffled_epoch_is_the_permutation_of_seed_and_epoch():
    for seed, epoch in ((0, 0), (0, 1), (7, 0)):
        assert (
            shuffled(seed=seed, epoch=epoch).flatten().tolist()
            == permutation(seed=seed, epoch=epoch, size=100)[:96].tolist()
        )
    assert len({tuple(shuffled(seed=seed, epoch=epoch).flatten()) for seed in range(3) for epoch in range(3)}) == 9


def test_every_batch_holds_k_samples_of_each_of_p_classes():
    labels = labels_of([40, 25, 31, 60, 12])
    for batch in balanced(labels, classes=3, each=4):
        assert list(Counter(labels[batch].tolist()).values()) == [4, 4, 4]


def test_a_sample_is_visited_at_most_once_and_one_without_a_label_never():
    labels = labels_of([40, 25, 31, 60, 12], unlabeled=50)
    visited = balanced(labels, classes=3, each=4).flatten()
    assert len(np.unique(visited)) == len(visited)
    assert (labels[visited] >= 0).all()


def test_equal_classes_whose_samples_fill_the_batches_are_all_visited():
    labels = labels_of([32] * 6)
    visited = balanced(labels, classes=3, each=4).flatten()
    assert np.array_equal(np.sort(visited), np.arange(192))


def test_a_class_far_larger_than_the_others_is_used_as_often_as_they_can_meet_it():
    # The two small classes have 5 chunks each: ten batches of two classes, each with one of the large class.
    labels = labels_of([1000, 10, 10])
    batches = balanced(labels, classes=2, each=2)
    assert len(batches) == 10
    assert all((labels[batch] == 0).sum() == 2 for batch in batches)


def test_large_classes_do_not_come_first():
    """Batches are made from the class with the most left; unshuffled, the small classes would come in the end only."""
    labels = labels_of([400] * 3 + [40] * 3)
    batches = balanced(labels, classes=3, each=4)
    small = (labels[batches] >= 3).sum(axis=1)
    # 90 batches of the large three alone, and ten chunks of each of the six in 20 more.
    assert len(batches) == 110 and small.sum() == 3 * 40
    assert min(part.sum() for part in np.array_split(small, 3)) >= 20


def test_equal_classes_meet_each_other_in_every_combination():
    labels = labels_of([80] * 6)
    together = Counter(frozenset(labels[batch].tolist()) for batch in balanced(labels, classes=3, each=2))
    assert len(together) == 20  # 6 choose 3, in 80 batches.


def test_a_balanced_epoch_is_a_pure_function_of_seed_and_epoch():
    labels = labels_of([40, 25, 31, 60, 12], unlabeled=9)
    first, again = (balanced(labels, classes=3, each=4, seed=5, epoch=2) for _ in range(2))
    assert np.array_equal(first, again)
    others = [balanced(labels, classes=3, each=4, seed=seed, epoch=epoch) for seed in (5, 6) for epoch in range(3)]
    assert len({tuple(batches.flatten()) for batches in others}) == 6


def test_names_of_classes_do_not_matter():
    """Labels are numbers of classes; a gap between them is as good as none."""
    labels = labels_of([40, 25, 31], unlabeled=9)
    gaps = np.array([3, 70, 500, -1])[labels]
    assert np.array_equal(balanced(labels, classes=2, each=4), balanced(gaps, classes=2, each=4))


@pytest.mark.integration
@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(0, 60), min_size=2, max_size=8),
    classes=st.integers(2, 4),
    each=st.integers(1, 5),
    unlabeled=st.integers(0, 10),
)
def test_every_epoch_has_as_many_batches_and_no_order_could_make_more(sizes, classes, each, unlabeled):
    labels = labels_of(sizes, unlabeled=unlabeled)
    made = [balanced(labels, classes=classes, each=each, epoch=epoch) for epoch in range(3)]
    # b batches hold at most b chunks of a class and P of all: by trying every b, where the count is by bisection.
    chunks = [size // each for size in sizes]
    possible = [b for b in range(sum(chunks) + 1) if sum(min(h, b) for h in chunks) >= classes * b]
    assert [len(batches) for batches in made] == [max(possible)] * 3
    assert class_balanced_count(sizes, batch_size=classes * each, samples_per_class=each) == max(possible)
    for batch in np.concatenate(made):
        assert set(Counter(labels[batch].tolist()).values()) == {each} and len(set(labels[batch].tolist())) == classes


def test_too_few_classes_make_no_batch():
    assert balanced(labels_of([40, 25]), classes=3, each=4).shape == (0, 12)
    assert class_balanced_count([40, 25], batch_size=12, samples_per_class=4) == 0


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("sub_batches", [1, 3])
def test_workers_share_each_sub_batch_without_overlap(sub_batches, workers):
    batch = np.arange(100, 132)
    shares = [share_of(batch, sub_batches=sub_batches, worker=worker, workers=workers) for worker in range(workers)]
    together = [np.concatenate([share[number] for share in shares]) for number in range(sub_batches)]
    # Which samples are embedded at once does not depend on the number of workers.
    assert [part.tolist() for part in together] == [part.tolist() for part in np.array_split(batch, sub_batches)]
    sizes = [len(part) for share in shares for part in share]
    assert max(sizes) - min(sizes) <= 1


def split_of(labels: list[int] | None, rows: int) -> Split:
    """Images that say their number, sorted by id."""
    numbers = np.arange(rows)
    ids = np.zeros((rows, 32), np.uint8)
    ids[:, 0], ids[:, 1] = numbers // 256, numbers % 256
    images = np.zeros((rows, 2, 2, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = numbers // 256, numbers % 256
    of_samples = None if labels is None else np.array(labels)
    return Split(Columns({"image": Column(images)}), ids, numbers.astype(np.uint64), of_samples)


def numbers_in(split: Split) -> list[int]:
    """The samples, checked to be the same ones in every array."""
    numbers = split.sample_ids.astype(int).tolist()
    images = split.column.take(slice(None))
    assert (256 * images[:, 0, 0, 0].astype(int) + images[:, 0, 1, 0]).tolist() == numbers
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


def test_images_are_not_copied() -> None:
    split = split_of([0] * 2500, 2500)
    trained, _ = hold_out(split, 0.02)
    assert np.shares_memory(trained.column.values, split.column.values)
    assert numbers_in(trained) == list(range(50, 2500))


@pytest.mark.parametrize(("labels", "share"), [(None, 0.5), ([0] * 10, 0.0), ([0] * 10, 0.09), ([-1] * 10, 0.5)])
def test_where_there_is_nothing_to_hold_out_the_split_is_left_as_it_is(labels: list[int] | None, share: float) -> None:
    split = split_of(labels, 10)
    assert hold_out(split, share) == (split, None)


def test_groups_are_held_out_whole_in_the_order_of_their_hashes_as_far_as_they_fit() -> None:
    groups = np.repeat(np.array([30, 10, 20, 40], np.uint64), [10, 60, 15, 15])
    labels = [0] * 95 + [-1] * 5  # The last group has 5 samples without a label.
    split = replace(split_of(labels, 100), groups=groups)
    trained, held_out = hold_out(split, 0.27)  # Group 10 is too large; 20 and 30 fit, then 40 does not.
    assert held_out is not None and held_out.groups is not None and trained.groups is not None
    assert numbers_in(held_out) == [*range(10), *range(70, 85)]
    assert numbers_in(trained) == [*range(10, 70), *range(85, 100)]
    assert set(trained.groups.tolist()) == {10, 40} and set(held_out.groups.tolist()) == {20, 30}


def test_unlabeled_samples_of_a_held_out_group_are_neither_trained_on_nor_asked() -> None:
    labels = np.array([0, -1, 1, -1, 0, 1, 0, 1])
    groups = np.array([1, 1, 2, 3, 4, 4, 4, 4], np.uint64)
    trained, held_out = hold_out(replace(split_of(labels.tolist(), 8), groups=groups), 0.4)
    assert held_out is not None and held_out.labels is not None
    assert numbers_in(held_out) == [0, 2]  # Of 6 labeled and 8 in all, 2 and 3 may be held out.
    assert numbers_in(trained) == [3, 4, 5, 6, 7]


def test_without_a_small_group_nothing_is_held_out() -> None:
    split = replace(split_of([0] * 10, 10), groups=np.repeat(np.array([1, 2], np.uint64), 5))
    trained, held_out = hold_out(split, 0.4)
    assert held_out is None and numbers_in(trained) == list(range(10))
