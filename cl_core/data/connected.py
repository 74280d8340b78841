"""Connected members: what is linked, directly or through others, is one group."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Numbers = NDArray[np.signedinteger[Any]]
"""Numbers of members: where they are few, in half the memory."""

_MOST_INT32 = 2**31


def merged(group: Numbers, first: Numbers, second: Numbers) -> Numbers:
    """Merge the groups of linked members: `first[k]` with `second[k]`.

    `group` is (N,), of each member the least member of its group, and so is the result.
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


def links(owners: Numbers, keys: U64 | Numbers) -> tuple[Numbers, Numbers]:
    """Return links between members with a key in common: (K,) members, and for each the first that has its key.

    `owners` is (K,), the member that has each key; a member may have several, or none.
    """
    distinct, number = numbered(keys)
    first = np.empty(len(distinct), owners.dtype)
    first[number[::-1]] = owners[::-1]  # Of several values for one place, NumPy keeps the last.
    return owners, first[number]


def numbered(values: NDArray[Any]) -> tuple[NDArray[Any], Numbers]:
    """Return the distinct values, rising, and the number of each of (N,) values among them.

    It is `numpy.unique` with the inverse, in half the memory.
    """
    order = np.argsort(values)
    number: Numbers = np.empty(len(values), np.int32 if 2 * len(values) < _MOST_INT32 else np.int64)
    rising = values[order]
    is_first = np.ones(len(values), bool)
    is_first[1:] = rising[1:] != rising[:-1]
    number[order] = np.cumsum(is_first, dtype=number.dtype)
    number -= 1
    del order
    return rising[is_first], number
