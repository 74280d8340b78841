"""Counter-based randomness: known answers, uniformity, and independence from what else is drawn."""

import numpy as np
import pytest
from scipy import stats

from cl_core.rng import permutation, philox, uniforms

IDS = np.random.default_rng(0).integers(0, 2**64, 2_000, dtype=np.uint64)


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (
            "ffffffff ffffffff ffffffff ffffffff",
            "ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counter, key, answer):
    """Vectors: `kat_vectors` of Random123, philox 4x32 with 10 rounds."""
    c0, c1, c2, c3 = (np.array([word], dtype=np.uint64) for word in words(counter))
    k0, k1 = words(key)
    assert [int(word[0]) for word in philox((c0, c1, c2, c3), (k0, k1))] == words(answer)


def test_numbers_are_uniform_in_every_column():
    numbers = uniforms(seed=1, epoch=2, sample_ids=IDS, stream=3, count=9)
    assert numbers.shape == (2_000, 9) and numbers.min() >= 0 and numbers.max() < 1
    for column in numbers.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3


def test_numbers_are_multiples_of_two_to_the_minus_24_hence_exact_in_float32():
    numbers = uniforms(seed=1, epoch=2, sample_ids=IDS, stream=3, count=4)
    assert np.array_equal(numbers, numbers.astype(np.float32))
    assert np.array_equal(numbers * 2**24, np.rint(numbers * 2**24))


def test_a_number_depends_neither_on_the_count_nor_on_the_other_samples():
    whole = uniforms(seed=1, epoch=2, sample_ids=IDS, stream=3, count=32)
    for count in (1, 4, 5, 31):
        assert np.array_equal(uniforms(seed=1, epoch=2, sample_ids=IDS, stream=3, count=count), whole[:, :count])
    part = np.array([1999, 0, 7, 7])
    assert np.array_equal(uniforms(seed=1, epoch=2, sample_ids=IDS[part], stream=3, count=32), whole[part])


@pytest.mark.parametrize("change", [{"seed": 2}, {"epoch": 3}, {"stream": 4}, {"sample_ids": IDS + np.uint64(1)}])
def test_seed_epoch_stream_and_sample_each_change_every_number(change):
    place = {"seed": 1, "epoch": 2, "sample_ids": IDS, "stream": 3}
    first, second = uniforms(**place, count=4), uniforms(**{**place, **change}, count=4)
    # Two 24-bit numbers coincide by chance once in 2**24; here 8,000 pairs are compared.
    assert (first == second).sum() <= 1
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4 / 8_000**0.5


def test_all_64_bits_of_an_id_count():
    bits = np.uint64(1) << np.arange(64, dtype=np.uint64)
    numbers = uniforms(seed=0, epoch=0, sample_ids=np.concatenate([[np.uint64(0)], bits]), stream=0, count=4)
    assert len(np.unique(numbers, axis=0)) == 65


def test_no_samples_give_no_numbers():
    assert uniforms(seed=0, epoch=0, sample_ids=IDS[:0], stream=0, count=5).shape == (0, 5)


@pytest.mark.parametrize("size", [0, 1, 2, 1000])
def test_a_permutation_visits_every_position_once(size):
    assert np.array_equal(np.sort(permutation(seed=0, epoch=0, size=size)), np.arange(size))


def test_permutations_of_other_epochs_and_seeds_are_unrelated():
    first = permutation(seed=0, epoch=0, size=10_000)
    assert np.array_equal(first, permutation(seed=0, epoch=0, size=10_000))
    identity = np.arange(10_000)
    for other in (permutation(seed=0, epoch=1, size=10_000), permutation(seed=1, epoch=0, size=10_000), identity):
        assert abs(stats.spearmanr(first, other).statistic) < 4 / 10_000**0.5


def test_each_position_is_first_equally_often():
    firsts = [permutation(seed=seed, epoch=5, size=6)[0] for seed in range(3_000)]
    assert stats.chisquare(np.bincount(firsts, minlength=6)).pvalue > 1e-3
