"""Rotation of one channel: by quarter turns, and by any angle with interpolation."""

import math
from typing import Any

import numpy as np

from cl_core.parallel.compiling import inner

f32 = np.float32


@inner
def turn_quarters(plane: Any, turns: int, turned: Any) -> None:
    """Turn (S, S) values by 1 to 3 times 90 degrees, counterclockwise, into another array."""
    last = plane.shape[0] - 1
    for y in range(last + 1):
        for x in range(last + 1):
            if turns == 1:
                turned[y, x] = plane[x, last - y]
            elif turns == 2:
                turned[y, x] = plane[last - y, last - x]
            else:
                turned[y, x] = plane[last - x, y]


@inner
def tilt_plane(plane: Any, degrees: float, tilted: Any) -> None:
    """Turn (S, S) values about their center, counterclockwise, into another array; uncovered corners are 0."""
    size = plane.shape[0]
    center = f32(size - 1) / f32(2)
    cosine, sine = f32(math.cos(math.radians(degrees))), f32(math.sin(math.radians(degrees)))
    for y in range(size):
        for x in range(size):
            right, down = f32(x) - center, f32(y) - center
            column = cosine * right - sine * down + center
            row = sine * right + cosine * down + center
            left, top = math.floor(column), math.floor(row)
            to_left, to_top = f32(column - left), f32(row - top)
            value = f32(0)
            for dy in range(2):
                for dx in range(2):
                    at_y, at_x = int(top) + dy, int(left) + dx
                    if 0 <= at_y < size and 0 <= at_x < size:
                        across = to_left if dx == 1 else f32(1) - to_left
                        along = to_top if dy == 1 else f32(1) - to_top
                        value += across * along * plane[at_y, at_x]
            tilted[y, x] = value
