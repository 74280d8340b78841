"""Sums over the pixels of images: of integers, and so exact. By NumPy, and by a compiled loop once that saves time."""

import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
ByColumn = tuple[U32, U32, U8, U8]

# The loop takes a third of NumPy's time. Compiling it takes two CPU seconds, which so many values repay.
_WORTH_VALUES = 1 << 31


class PixelSums(NamedTuple):
    """What is counted of the levels of an image, 0 to 255."""

    low: int  # The least level of all channels.
    high: int  # The greatest.
    sums: list[int]  # Of each channel's levels.
    squares: list[int]  # Of their squares.


def pixel_sums(pixels: NDArray[np.uint8]) -> PixelSums:
    """Return the sums of (H, W, C) uint8 pixels, contiguous; H is at most 66,051, so that 32 bits hold a column's."""
    height, width, channels = pixels.shape
    # Rows are added first, in vector registers: adding each channel by itself takes five times as long.
    sums, squares, low, high = _columns(pixels.reshape(height, width * channels))
    totals = (values.reshape(width, channels).sum(axis=0, dtype=np.int64).tolist() for values in (sums, squares))
    return PixelSums(int(low.min()), int(high.max()), *totals)


class ColumnSums:
    """Sums of the columns of bytes: (H, K) to the sum, the sum of squares, the least and the greatest of each."""

    def __init__(self, worth_values: int = _WORTH_VALUES) -> None:
        self._left = worth_values
        self._lock = threading.Lock()
        self._sum: Callable[[U8], ByColumn] = by_numpy

    def __call__(self, rows: U8) -> ByColumn:
        """Return the sums of (H, K) uint8; (K,) each."""
        # Other threads use NumPy while one compiles.
        if self._left > 0 and self._lock.acquire(blocking=False):
            try:
                self._left -= rows.size
                if self._left <= 0:
                    self._sum = compiled_loop()
            finally:
                self._lock.release()
        return self._sum(rows)


def by_numpy(rows: U8) -> ByColumn:
    """Return what `ColumnSums` does. The least and greatest of all rows stand for those of each column."""
    squares = np.square(rows, dtype=np.uint16).sum(axis=0, dtype=np.uint32)
    return rows.sum(axis=0, dtype=np.uint32), squares, rows.min(keepdims=True)[0], rows.max(keepdims=True)[0]


def one_pass(rows: U8) -> ByColumn:
    """Return what `ColumnSums` does, in one pass over the rows; to be compiled."""
    height, width = rows.shape
    sums, squares = np.zeros(width, np.uint32), np.zeros(width, np.uint32)
    low, high = np.full(width, 255, np.uint8), np.zeros(width, np.uint8)
    for y in range(height):
        for x in range(width):
            value = rows[y, x]
            sums[x] += value
            squares[x] += np.uint32(value) * np.uint32(value)
            low[x] = min(low[x], value)
            high[x] = max(high[x], value)
    return sums, squares, low, high


def compiled_loop() -> Callable[[U8], ByColumn]:
    """Return `one_pass` compiled by numba; without numba `by_numpy`."""
    try:
        import numba
    except ImportError:
        return by_numpy
    # Arrays of simplejpeg can be written, those of Pillow cannot.
    rows = numba.types.Array(numba.uint8, 2, "C", readonly=True)
    columns = [numba.types.Array(kind, 1, "C") for kind in (numba.uint32, numba.uint32, numba.uint8, numba.uint8)]
    kernel: Callable[[U8], ByColumn] = numba.njit(numba.types.Tuple(columns)(rows), nogil=True)(one_pass)
    return kernel


_columns = ColumnSums()
