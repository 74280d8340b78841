"""Memory of views that is used again: the system zeroes new memory, which takes a fifth of the time to make views."""

import math
import weakref

import numpy as np
from numpy.typing import NDArray

Spare = dict[int, list[NDArray[np.uint8]]]
"""Memory that nothing uses any more, by its size in bytes."""


def float32_array(shape: tuple[int, ...], spare: Spare) -> NDArray[np.float32]:
    """Return an array with any content, in spare memory if there is any of its size.

    Its memory becomes spare when the array is gone, and with it every tensor made of it, those that autograd keeps for
    a backward among them. Slices by NumPy do not count: they refer to the memory, not to the array. No more is ever
    spare than was in use at one time.
    """
    size = 4 * math.prod(shape)
    unused = spare.setdefault(size, [])
    try:
        memory = unused.pop()
    except IndexError:
        memory = np.empty(size, np.uint8)
    array = memory.view(np.float32).reshape(shape)
    weakref.finalize(array, unused.append, memory).atexit = False
    return array
