"""Synthetic images of simple shapes: for tests, and to try things without data."""

from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cl_core.data.sources import RawSample
from cl_core.data.sources._generated import Generated
from cl_core.data.sources._vectors import pixel_encoder
from cl_core.registry import SOURCES
from cl_core.rng import U64, uniforms

Grid = NDArray[np.float64]

# Each shape as a mask over coordinates whose unit is the shape's radius, its center at 0.
SHAPES: dict[str, Callable[[Grid, Grid], NDArray[np.bool_]]] = {
    "disc": lambda x, y: x**2 + y**2 < 1,
    "ring": lambda x, y: (x**2 + y**2 < 1) & (x**2 + y**2 > 0.4),
    "square": lambda x, y: np.maximum(abs(x), abs(y)) < 0.8,
    "frame": lambda x, y: (np.maximum(abs(x), abs(y)) < 0.9) & (np.maximum(abs(x), abs(y)) > 0.55),
    "diamond": lambda x, y: abs(x) + abs(y) < 1,
    "plus": lambda x, y: (np.minimum(abs(x), abs(y)) < 0.25) & (np.maximum(abs(x), abs(y)) < 1),
    "cross": lambda x, y: (abs(abs(x) - abs(y)) < 0.3) & (np.maximum(abs(x), abs(y)) < 0.9),
    "rows": lambda x, y: (np.maximum(abs(x), abs(y)) < 0.9) & (np.floor(y / 0.36 + 0.5) % 2 == 0),
    "columns": lambda x, y: (np.maximum(abs(x), abs(y)) < 0.9) & (np.floor(x / 0.36 + 0.5) % 2 == 0),
    "triangle": lambda x, y: (y < 0.8) & (abs(x) < (y + 1) / 1.8),
}

_BATCH_PIXELS = 1 << 20
_PLACE, _NOISE = 0, 1  # Streams of random numbers.


@SOURCES.register("synthetic")
class Synthetic(Generated):
    """Bright shapes on a dark, noisy ground, at random places, in random sizes and colors; the shape is the class."""

    modalities: ClassVar[tuple[str, ...]] = ("image", "vector")

    classes: int = Field(4, ge=1, le=len(SHAPES))
    """Number of shapes, equally frequent."""
    size: int = Field(28, ge=8, le=512)
    """Side of the images. Pixels."""
    channels: Literal[1, 3] = 1
    """1 for grayscale, 3 for color."""
    labelled: bool = Field(True, title="Labeled")
    """Whether the name of the shape is the label."""
    noise: float = Field(0.1, ge=0, le=0.5)
    """Height of the noise. Fraction of full brightness."""

    def samples(self, location: str) -> Iterator[RawSample]:
        """Yield the images, without a split; no two are equal, unless there is no noise."""
        encoded = pixel_encoder(self._modality)
        names = list(SHAPES)[: self.classes]
        per_batch = max(1, _BATCH_PIXELS // self.size**2)
        for start in range(0, self.count, per_batch):
            numbers = np.arange(start, min(start + per_batch, self.count), dtype=np.uint64)
            shapes = (numbers % self.classes).astype(np.int64)
            for number, shape, image in zip(numbers, shapes, self._draw(numbers, shapes), strict=True):
                yield RawSample(encoded(image), names[shape] if self.labelled else None, "", f"synthetic#{number}")

    def _draw(self, numbers: U64, shapes: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Draw (N, H, W, C) uint8 images of the given shapes; each follows from its number and the seed alone."""
        n, size = len(numbers), self.size
        place = uniforms(seed=self.seed, epoch=0, sample_ids=numbers, stream=_PLACE, count=6).reshape(n, 6, 1, 1)
        radius = 0.4 + 0.3 * place[:, 0]
        center_x, center_y = ((1 - radius) * (2 * place[:, i] - 1) for i in (1, 2))
        axis = (np.arange(size) + 0.5) / size * 2 - 1
        x, y = (axis[None, None, :] - center_x) / radius, (axis[None, :, None] - center_y) / radius
        x, y = np.broadcast_arrays(x, y)
        mask = np.empty((n, size, size), bool)
        for index, shape in enumerate(SHAPES.values()):
            mask[shapes == index] = shape(x[shapes == index], y[shapes == index])
        color = 0.5 + 0.4 * place[:, 3 : 3 + self.channels].reshape(n, 1, 1, self.channels)
        noise = uniforms(seed=self.seed, epoch=0, sample_ids=numbers, stream=_NOISE, count=size**2)
        brightness = mask[..., None] * color + self.noise * noise.reshape(n, size, size, 1)
        return (255 * np.minimum(brightness, 1)).round().astype(np.uint8)
