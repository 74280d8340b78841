"""Random colors as vectors: whether an encoder learns the distances that its views suggest."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from pydantic import Field

from cl_core.data.sources import RawSample
from cl_core.data.sources._generated import Generated
from cl_core.registry import SOURCES
from cl_core.rng import uniforms

# By which of red, green and blue are over one half: the corners of the color cube.
CORNERS = ("black", "blue", "green", "cyan", "red", "magenta", "yellow", "white")

_AT_ONCE = 4096


@SOURCES.register("colors")
class Colors(Generated):
    """Colors drawn evenly from the cube of red, green and blue, 0 to 1 each; the nearest corner is the class."""

    modalities: ClassVar[tuple[str, ...]] = ("vector",)

    count: int = Field(20_000, ge=1, le=10_000_000, title="Samples")
    """Number of samples."""

    def samples(self, location: str) -> Iterator[RawSample]:
        """Yield the colors, without a split."""
        for start in range(0, self.count, _AT_ONCE):
            numbers = np.arange(start, min(start + _AT_ONCE, self.count), dtype=np.uint64)
            colors = uniforms(seed=self.seed, epoch=0, sample_ids=numbers, stream=0, count=3).astype("<f4")
            corners = (colors > 0.5) @ [4, 2, 1]
            for number, color, corner in zip(numbers, colors, corners, strict=True):
                yield RawSample(color.tobytes(), CORNERS[corner], "", f"colors#{number}")
