"""Partners: with which samples of the training split each sample is mixed."""

import numpy as np
import pytest
from scipy import stats

from cl_core.columns import Column, Columns, RaggedColumn, SamplePool
from cl_core.rng import SampleRng


def positions(ids, *, seed=3, epoch=1, count=2, size=1000):
    return SampleRng(seed, epoch, np.asarray(ids, dtype=np.uint64)).positions(stream=1 << 15, count=count, size=size)


def test_partners_are_the_rows_at_their_positions():
    rng = SampleRng(3, 1, np.arange(9, dtype=np.uint64))
    rows = np.arange(1000.0).reshape(100, 2, 5)
    # Of two columns, both of a partner's rows: the ragged ones have lengths 0 to 4, padded with zeros.
    lengths = np.arange(100) % 5
    values, offsets = np.repeat(np.arange(1, 101), lengths), np.cumsum([0, *lengths])
    columns = Columns({"fixed": Column(rows), "ragged": RaggedColumn(values, offsets, longest=4)})
    drawn, ragged = SamplePool(columns).partners(rng, count=4)
    wanted = positions(range(9), count=4, size=100)
    assert np.array_equal(drawn.numpy(), rows[wanted])
    assert ragged.shape == (4, 9, 4)
    assert np.array_equal(ragged.numpy(), (wanted + 1)[..., None] * (np.arange(4) < (wanted % 5)[..., None]))


def test_partners_are_uniform_over_the_whole_split():
    drawn = positions(range(50_000), size=100)
    for view in drawn:
        assert stats.chisquare(np.bincount(view, minlength=100)).pvalue > 1e-3


def test_a_sample_has_the_same_partners_on_any_number_of_workers():
    whole = positions(range(64))
    for workers in (2, 3):
        shares = [positions(share) for share in np.array_split(np.arange(64), workers)]
        assert np.array_equal(np.concatenate(shares, axis=1), whole)


def test_the_first_partners_do_not_depend_on_how_many_there_are():
    assert np.array_equal(positions(range(9), count=7)[:2], positions(range(9), count=2))


def test_partners_of_views_epochs_seeds_and_samples_are_independent():
    """Two independent draws among 1,000 coincide once in 1,000 times: 20 of 20,000, give or take 4.5."""
    ids = np.arange(20_000)
    first, second = positions(ids)
    for other in (second, positions(ids, epoch=2)[0], positions(ids, seed=4)[0], positions(ids + 1)[0]):
        assert 2 <= (first == other).sum() <= 38


def test_a_sample_is_its_own_partner_once_in_as_many_draws_as_there_are_rows():
    own = (positions(range(20_000), count=50, size=20_000) == np.arange(20_000)).sum()
    assert own == pytest.approx(50, abs=4 * 50**0.5)


@pytest.mark.parametrize("size", [1, 2**24, 3 * 2**24 + 1, 2**40])
def test_every_row_of_any_split_can_be_drawn_and_no_other(size):
    drawn = positions(range(100_000), size=size)
    assert drawn.min() >= 0 and drawn.max() < size
    assert size == 1 or len(np.unique(drawn % 2**10)) == 2**10


def test_no_partners_are_drawn_for_a_policy_that_mixes_nothing():
    assert positions(range(5), count=0).shape == (0, 5)
