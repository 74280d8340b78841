"""Vectors as payloads: the bytes of a row of float32, and how many rows are turned into them at once."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_core.modalities._png import encode_png
from cl_core.refs import IMAGE

EXACT = 1 << 24
"""Whole numbers up to this one, and down to its negative, are exact in float32."""
LOST_DIGITS = f"whole numbers beyond {EXACT:,} lose digits, since values are stored as float32"

_BLOCK_VALUES = 1 << 22
_BLOCK_ROWS = 1 << 14


def pixel_encoder(modality: str) -> Callable[[NDArray[np.uint8]], bytes]:
    """Return what turns (H, W, C) pixels into a payload: a PNG file, or a vector of their values, 0 to 255."""
    return encode_png if modality == IMAGE else lambda pixels: payloads_of(pixels.reshape(1, -1))[0]


def rows_at_once(values: int) -> int:
    """Return how many rows of so many values are read at a time: at most 16 MiB of float32."""
    return max(1, min(_BLOCK_ROWS, _BLOCK_VALUES // values))


def payloads_of(rows: NDArray[Any]) -> list[bytes]:
    """Return each row of numbers as the bytes of little-endian float32, in which NaN is a missing value.

    Ids are hashes of these bytes, so rows of equal values get equal bytes: there is no -0.0, and one kind of NaN.

    Args:
        rows: (n, D) of any kind of real numbers, D at least 1. Beyond the range of float32 they become infinite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.array(rows, "<f4", order="C")
        values += 0.0  # Makes 0.0 of -0.0.
    values[np.isnan(values)] = np.nan
    data, width = values.tobytes(), values.shape[1] * values.itemsize
    return [data[start : start + width] for start in range(0, len(data), width)]
