"""Drawing the splits holds at most 200 bytes of an input, whatever identifies it."""

import tracemalloc

import numpy as np
import pytest

from cl_core.data.connected import links, numbered
from cl_core.data.ingest.split_groups import SplitGroups
from cl_core.data.sources import RawSample
from cl_core.specs import DataSpec

INPUTS = 20_000


@pytest.mark.parametrize("identities", [0, 1, 2, "looks"])
def test_two_hundred_bytes_of_an_input(identities: int | str) -> None:
    alike, identities = identities == "looks", 0 if identities == "looks" else int(identities)
    rng = np.random.default_rng(identities)
    ids = [row.tobytes() for row in rng.integers(0, 256, (INPUTS, 32), dtype=np.uint8)]
    # A third of the inputs share an identity with another one.
    keys = rng.integers(0, INPUTS * 2 // 3, (INPUTS, identities)).astype(np.uint64)
    rule = "" if identities or alike else "column:series"
    data = DataSpec(name="many", source="synthetic", group=rule, near_duplicates_together=alike)
    groups = SplitGroups(data)
    source = RawSample(b"", None, "", "")
    samples = [RawSample(b"", None, "", "", group=str(number % 500)) for number in range(500)] if rule else [source]
    tracemalloc.start()
    for number, (one, key) in enumerate(zip(ids, keys, strict=True)):
        groups.add(one, samples[number % len(samples)], one[:8] if alike else None, key.tobytes())
    drawn = groups.draw()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 * INPUTS
    if rule:
        assert len(drawn) == 500


def test_values_are_numbered_as_numpy_does() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.integers(0, 50, 400), np.frombuffer(rng.bytes(6400), "S32"), np.empty(0, np.uint64)):
        wanted, inverse = np.unique(values, return_inverse=True)
        distinct, number = numbered(values)
        np.testing.assert_array_equal(distinct, wanted)
        np.testing.assert_array_equal(number, inverse)
    owners, keys = np.arange(6), np.array([7, 9, 7, 9, 1, 7])
    assert [each.tolist() for each in links(owners, keys)] == [[0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 4, 0]]
