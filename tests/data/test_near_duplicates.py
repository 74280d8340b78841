import numpy as np
import pytest
from scipy.fft import dctn
from scipy.sparse.csgraph import connected_components

from cl_core.data import near_duplicates as module
from cl_core.data.cache import build_cache, load_split
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.near_duplicates import merged, near_duplicate_groups, near_duplicates
from cl_core.modalities._perceptual_hash import perceptual_hashes
from cl_core.modalities.image import Images
from cl_core.specs import DataSpec


def hashes_near(centres: np.ndarray, flips: int, seed: int) -> np.ndarray:
    """Each hash with `flips` of its 64 bits turned over."""
    rng = np.random.default_rng(seed)
    turned = [sum(1 << int(bit) for bit in rng.choice(64, flips, replace=False)) for _ in centres]
    return centres ^ np.array(turned, np.uint64)


def compared_one_by_one(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    close = np.bitwise_count(first[:, None] ^ second[None, :]) <= 3
    return int(close.sum()), int(close.any(axis=0).sum())


@pytest.mark.parametrize("flips", range(6))
def test_pairs_are_found_up_to_three_bits_and_no_further(flips):
    first = np.random.default_rng(0).integers(0, 2**64, 200, dtype=np.uint64)
    found = near_duplicates(first, hashes_near(first, flips, seed=1), examples=2)
    assert found.pairs == found.second_images == (200 if flips <= 3 else 0)
    assert found.complete


@pytest.mark.parametrize("bits", [8, 14, 64])
def test_counts_agree_with_comparing_every_pair(bits):
    rng = np.random.default_rng(2)
    first, second = (rng.integers(0, 2**bits - 1, n, dtype=np.uint64, endpoint=True) for n in (700, 300))
    found = near_duplicates(first, second, examples=5)
    assert (found.pairs, found.second_images) == compared_one_by_one(first, second)
    for row, other in found.examples:
        assert int(first[row] ^ second[other]).bit_count() <= 3


def test_a_hundred_thousand_equal_hashes_are_counted_without_being_listed():
    same = np.zeros(100_000, np.uint64)
    found = near_duplicates(same, same, examples=3)
    assert (found.pairs, found.second_images, found.complete) == (10**10, 100_000, True)


def test_beyond_the_limit_the_counts_are_said_to_be_lower_bounds(monkeypatch):
    monkeypatch.setattr(module, "_MOST_PAIRS", 1000)
    rng = np.random.default_rng(3)
    first, second = (rng.integers(0, 2**14, 500, dtype=np.uint64) for _ in range(2))
    found = near_duplicates(first, second, examples=3)
    assert not found.complete
    assert 0 <= found.pairs <= compared_one_by_one(first, second)[0]


@pytest.mark.parametrize("bits", [10, 13, 64])
def test_groups_are_the_components_of_all_close_pairs(bits):
    hashes = np.random.default_rng(5).integers(0, 2**bits - 1, 400, dtype=np.uint64, endpoint=True)
    hashes[::7] <<= np.uint64(64 - bits)
    close = np.bitwise_count(hashes[:, None] ^ hashes[None, :]) <= 3
    _, expected = connected_components(close)
    found = near_duplicate_groups(hashes)
    assert len(set(zip(expected.tolist(), found.tolist(), strict=True))) == len(set(expected)) == len(set(found))


def test_a_chain_of_links_in_any_order_is_one_group():
    places = np.random.default_rng(6).permutation(1000)
    assert set(merged(np.arange(1001), places, places + 1).tolist()) == {0}
    assert merged(np.arange(4), np.array([3]), np.array([1])).tolist() == [0, 1, 2, 1]


def test_too_many_alike_hashes_are_not_grouped_by_halves(monkeypatch):
    monkeypatch.setattr(module, "_MOST_GROUPED_PAIRS", 10)
    assert near_duplicate_groups(np.arange(5, dtype=np.uint64)) is None  # 3 bands of 10 pairs.


def test_nothing_is_near_to_nothing():
    none = np.zeros(0, np.uint64)
    assert near_duplicates(none, none, examples=3)[:2] == (0, 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_hash_is_the_signs_of_the_lowest_frequencies_against_their_median(channels):
    images = np.random.default_rng(4).integers(0, 256, (5, 28, 28, channels), dtype=np.uint8)
    hashes, telling = perceptual_hashes(images)
    assert telling.all()
    for image, found in zip(images, hashes, strict=True):
        gray = image[..., 0].astype(float) if channels == 1 else image @ np.array([0.299, 0.587, 0.114])
        # scipy's transform has twice our scale on each axis, which moves no sign.
        spectrum = dctn(gray, type=2)[:8, :8].reshape(-1)
        bits = "".join("1" if value > np.median(spectrum) else "0" for value in spectrum)
        assert int(found) == int(bits, 2)


def test_images_of_one_color_have_no_hash():
    plain = np.full((3, 28, 28, 1), 200, np.uint8)
    plain[1] += np.random.default_rng(5).integers(0, 3, (28, 28, 1), dtype=np.uint8)  # Noise of a sensor.
    assert perceptual_hashes(plain)[1].tolist() == [False, False, False]


@pytest.mark.integration
def test_a_slightly_brighter_copy_of_a_real_image_has_nearly_the_same_hash(sample, tmp_path):
    options = {"label_column": "label", "split_column": "split"}
    spec = DataSpec(name="fashion", source="parquet", location=str(sample), source_options=options)
    snapshot = ingest_source(spec, datasets=tmp_path).snapshot
    images = load_split(build_cache(snapshot, Images(size=28), caches=tmp_path), "test").column.take(slice(None))
    brighter = np.minimum(images.astype(int) + 3, 255).astype(np.uint8)
    distances = np.bitwise_count(perceptual_hashes(images)[0] ^ perceptual_hashes(brighter)[0])
    assert np.mean(distances <= 3) > 0.95
