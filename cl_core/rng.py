"""Counter-based randomness: a draw is a pure function of (seed, epoch, sample, stream), never of what ran before.

That makes the order of samples and the augmentation of each the same for any number of workers, and lets a resumed
run see exactly what the uninterrupted one would have.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]

_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)

# More than a policy has views; partners are drawn from a stream far above (`cl_core.columns`).
_STREAMS_OF_A_SIDE = 1 << 10


def philox(counter: tuple[U64, U64, U64, U64], key: tuple[int, int]) -> tuple[U64, U64, U64, U64]:
    """Map four 32-bit words to four uniformly distributed 32-bit words: Philox-4x32-10.

    Args:
        counter: Four arrays of one shape, each word below 2**32 (kept in uint64 so that products do not overflow).
        key: Two 32-bit words.

    Returns:
        Four uint64 arrays of that shape, each value below 2**32.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC11. Differences: none.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0, product1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0 = (product1 >> _HALF) ^ c1 ^ np.uint64(k0)
        c2 = (product0 >> _HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = product1 & _LOW, product0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniforms(*, seed: int, epoch: int, sample_ids: U64, stream: int, count: int) -> NDArray[np.float64]:
    """Return uniform numbers in [0, 1) for each sample, independent of its batch and worker.

    Args:
        seed: Of the run; 0 to 2**32 - 1.
        epoch: 0 to 2**32 - 1.
        sample_ids: (B,) uint64, the leading 64 bits of each sample's content hash.
        stream: What the numbers are for (the view's index, say); 0 to 2**16 - 1.
        count: Numbers per sample, up to 2**18. Number i of a sample does not depend on `count`.

    Returns:
        (B, count) float64, multiples of 2**-24, hence exact in float32.
    """
    blocks = -(-count // 4)
    ids = np.repeat(sample_ids, blocks)
    slots = np.tile(np.arange(blocks, dtype=np.uint64) | np.uint64(stream << 16), len(sample_ids))
    words = philox((ids & _LOW, ids >> _HALF, slots, np.zeros_like(ids)), (seed, epoch))
    table = np.stack(words, axis=-1).reshape(len(sample_ids), 4 * blocks)[:, :count]
    return (table >> np.uint64(8)).astype(np.float64) * 2.0**-24


@dataclass(frozen=True)
class SampleRng:
    """The random numbers of some samples in one epoch.

    Args:
        seed: Of the run; 0 to 2**32 - 1.
        epoch: 0 to 2**32 - 1.
        sample_ids: (B,) uint64, the leading 64 bits of each sample's content hash.
        first_stream: Number of the stream that is stream 0 here.
    """

    seed: int
    epoch: int
    sample_ids: U64
    first_stream: int = 0

    def __len__(self) -> int:
        return len(self.sample_ids)

    def uniforms(self, *, stream: int, count: int) -> NDArray[np.float64]:
        """Return (B, count) uniform numbers; see `uniforms`."""
        stream += self.first_stream
        return uniforms(seed=self.seed, epoch=self.epoch, sample_ids=self.sample_ids, stream=stream, count=count)

    def of_side(self, side: int) -> "SampleRng":
        """Return the numbers for one side of pairs: those of the first are these, the others have streams apart."""
        return replace(self, first_stream=side * _STREAMS_OF_A_SIDE)

    def positions(self, *, stream: int, count: int, size: int) -> NDArray[np.int64]:
        """Return positions in a sequence of `size`, all equally likely, for each sample: (count, B) int64.

        The first ones do not depend on `count`.
        """
        draws = self.uniforms(stream=stream, count=2 * count)
        # A draw has 24 bits: alone it would not reach every position beyond 16 million.
        shares = draws[:, ::2] + draws[:, 1::2] * 2.0**-24
        return (shares.T * size).astype(np.int64)


def permutation(*, seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    """Return the order in which an epoch visits its samples: (size,) positions, each once.

    The positions are sorted by a 64-bit hash of (seed, epoch, position); no library's shuffle is involved, so the
    order does not change with a library's version.
    """
    positions = np.arange(size, dtype=np.uint64)
    zeros = np.zeros_like(positions)
    # Word 2 is above every stream of `uniforms`, so the two never share a counter.
    c0, c1, _, _ = philox((positions & _LOW, positions >> _HALF, zeros | np.uint64(1 << 31), zeros), (seed, epoch))
    return np.argsort((c0 << _HALF) | c1, kind="stable")
