"""Connected members: what is linked, directly or through others, is one group."""

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


def merged(group: I64, first: I64, second: I64) -> I64:
    """Merge the groups of linked members: `first[k]` with `second[k]`.

    `group` is (N,) int64, of each member the least member of its group, and so is the result.
    """
    group = group.copy()
    while True:
        one, other = group[first], group[second]
        apart = one != other
        if not apart.any():
            return group
        first, second, one, other = first[apart], second[apart], one[apart], other[apart]
        np.minimum.at(group, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(group, shorter := group[group]):
            group = shorter


def links(owners: I64, keys: U64 | I64) -> tuple[I64, I64]:
    """Return links between members with a key in common: (K,) members, and for each the first that has its key.

    `owners` is (K,), the member that has each key; a member may have several, or none.
    """
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return owners, owners[first[inverse]]
