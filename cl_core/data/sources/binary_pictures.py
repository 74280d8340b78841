"""Random pictures of black and white pixels as vectors: whether an encoder learns to count differing pixels."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from pydantic import Field

from cl_core.data.sources import RawSample
from cl_core.data.sources._generated import Generated
from cl_core.registry import SOURCES
from cl_core.rng import uniforms

_AT_ONCE = 4096


@SOURCES.register("binary_pictures")
class BinaryPictures(Generated):
    """Pictures whose pixels are 0 or 1, each by the toss of a coin; the class says which are more."""

    modalities: ClassVar[tuple[str, ...]] = ("vector",)

    count: int = Field(20_000, ge=1, le=10_000_000, title="Samples")
    """Number of samples."""
    side: int = Field(6, ge=2, le=64)
    """Side of a picture. Pixels."""

    def samples(self, location: str) -> Iterator[RawSample]:
        """Yield the pictures, row by row of pixels, without a split."""
        pixels = self.side**2
        for start in range(0, self.count, _AT_ONCE):
            numbers = np.arange(start, min(start + _AT_ONCE, self.count), dtype=np.uint64)
            draws = uniforms(seed=self.seed, epoch=0, sample_ids=numbers, stream=0, count=pixels)
            for number, picture in zip(numbers, (draws < 0.5).astype("<f4"), strict=True):
                label = "light" if picture.sum() > pixels / 2 else "dark"
                yield RawSample(picture.tobytes(), label, "", f"binary_pictures#{number}")
