"""Find near-duplicates: samples of two splits that are alike although their bytes differ.

The modality gives each sample a 64-bit fingerprint, and pairs at a small Hamming distance are counted. Two fingerprints
at a distance of at most 3 agree in at least one of four 16-bit bands, so only those that share a band are compared.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cl_core.data.connected import I64, U64, Numbers, merged, numbered

MAX_DISTANCE = 3
_BANDS, _BAND_BITS = 4, 16
_CHUNK_PAIRS = 1 << 19  # 25 MB.
_MOST_PAIRS = 1 << 26  # Compared in two seconds; without a limit, samples all much alike would cost their square.
_MOST_GROUPED_PAIRS = 1 << 32  # Compared in some minutes: groups leave no pair out.


class Matches(NamedTuple):
    """Pairs of one sample each of two splits, at a distance of at most `MAX_DISTANCE`."""

    pairs: int  # How many.
    second_images: int  # Images of the second split that are in a pair.
    examples: I64  # (n, 2) int64, rows of the first and second split of some pairs, closest first.
    complete: bool  # False when some bands held too many candidates to compare; then the counts are lower bounds.


def near_duplicates(first: U64, second: U64, *, examples: int) -> Matches:
    """Find pairs of equal or nearly equal hashes between two splits: (N,) and (M,) uint64."""
    # Many samples may share one hash: compared once, counted with their number.
    left, left_row, left_count = np.unique(first, return_index=True, return_counts=True)
    right, right_row, right_count = np.unique(second, return_index=True, return_counts=True)
    pairs, complete = 0, True
    matched = np.zeros(len(right), bool)
    shown: list[tuple[int, int, int]] = []
    budget = _MOST_PAIRS
    for band in range(_BANDS):
        candidates, complete_band = _sharing(left, right, band, budget)
        complete &= complete_band
        for i, j in candidates:
            budget -= len(i)
            differing = left[i] ^ right[j]
            distance = np.bitwise_count(differing)
            close = distance <= MAX_DISTANCE
            for earlier in range(band):
                close &= _band(differing, earlier) != 0  # Otherwise that band found it.
            i, j, distance = i[close], j[close], distance[close]
            pairs += int((left_count[i] * right_count[j]).sum())
            matched[j] = True
            closest = np.argsort(distance, kind="stable")[:examples]
            shown += zip(
                distance[closest].tolist(), left_row[i[closest]].tolist(), right_row[j[closest]].tolist(), strict=True
            )
            shown = sorted(shown)[:examples]
    rows = np.array([(a, b) for _, a, b in shown], np.int64).reshape(-1, 2)
    return Matches(pairs, int(right_count[matched].sum()), rows, complete)


def near_duplicate_groups(hashes: U64) -> Numbers | None:
    """Return the groups of equal or nearly equal hashes, and of chains of them: (N,) uint64.

    Returns:
        (N,) numbers, the same number for all hashes of a group; None when too many are alike to compare them all.
    """
    distinct, of_hash = numbered(hashes)
    group: Numbers = np.arange(len(distinct), dtype=of_hash.dtype)
    budget = _MOST_GROUPED_PAIRS
    for band in range(_BANDS):
        key = _band(distinct, band)
        order = np.argsort(key, kind="stable").astype(of_hash.dtype)
        key = key[order]
        start = np.searchsorted(key, key, "left").astype(of_hash.dtype)
        del key
        earlier = np.arange(len(order), dtype=of_hash.dtype) - start  # Each is compared with those before it.
        budget -= int(earlier.sum())
        if budget < 0:
            return None
        for i, j in _expanded(order, order, start, earlier):
            close = np.bitwise_count(distinct[i] ^ distinct[j]) <= MAX_DISTANCE
            group = merged(group, i[close], j[close])
    return group[of_hash]


def _sharing(left: U64, right: U64, band: int, budget: int) -> tuple[Iterator[tuple[I64, I64]], bool]:
    """Return indices of all pairs that agree in a band, half a million at a time, and whether they are complete."""
    key = _band(left, band)
    order = np.argsort(key, kind="stable")
    key = key[order]
    queries = _band(right, band)
    start, stop = np.searchsorted(key, queries, "left"), np.searchsorted(key, queries, "right")
    number = stop - start
    # The smallest groups first: when not all can be compared, the largest groups are left out.
    by_size = np.argsort(number, kind="stable")
    within = np.cumsum(number[by_size]) <= budget
    chosen = by_size[within]
    chosen = chosen[number[chosen] > 0]
    return _expanded(order, chosen, start[chosen], number[chosen]), bool(within.all())


def _expanded(order: Numbers, right: Numbers, start: Numbers, number: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield the pairs of each `right[k]` with `order[start[k] : start[k] + number[k]]`, in bounded pieces."""
    piece = np.cumsum(number, dtype=np.int64) // _CHUNK_PAIRS
    for cut in np.split(np.arange(len(right)), np.flatnonzero(np.diff(piece)) + 1):
        if len(cut):
            counts = number[cut]
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            yield order[np.repeat(start[cut], counts) + within], np.repeat(right[cut], counts)


def _band(hashes: U64, band: int) -> U64:
    return (hashes >> np.uint64(band * _BAND_BITS)) & np.uint64((1 << _BAND_BITS) - 1)
