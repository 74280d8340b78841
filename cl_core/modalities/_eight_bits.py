"""Values of images as files store them, and as 8 bits: L or RGB, whatever the mode in which Pillow opens a format."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_GREATEST = 65_535


class StoredValues(NamedTuple):
    """The values of an image as its file stores them, before they become 8 bits."""

    bits: int  # 16 of grayscale that has them, else 8.
    low: int  # The least value.
    high: int  # The greatest value.


class EightBits(NamedTuple):
    """An image of 8 bits, and what is counted of it when it is asked for."""

    image: Image.Image  # Of mode L or RGB.
    stored: Callable[[], StoredValues]
    histogram: Callable[[], NDArray[np.int64]]  # (C, 256) pixels of each level.


def eight_bits(image: Image.Image, value_range: tuple[float, float] | None) -> EightBits:
    """Convert any mode in which Pillow opens the formats of images to L or RGB; `decode_image` says how."""
    if image.mode.startswith("I"):  # 16 bits; in mode I PNM files, which Pillow scales to them.
        values = np.asarray(image).astype(np.uint32)
        shown = values != image.info.get("transparency", -1)
        pixels = levels_of(16, value_range)[values]
        pixels[~shown] = 255
        return _counted(Image.fromarray(pixels), lambda: _extremes_of_16_bits(values, shown))
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if not image.has_transparency_data:
        plain = image if image.mode == mode else image.convert(mode)
        if value_range is None:
            counts = _once(lambda: histogram_of(plain))
            return EightBits(plain, lambda: _extremes(counts()), counts)
        return _counted(_stretched(plain, value_range), lambda: _extremes(histogram_of(plain)))
    layer = image.convert("RGBA")
    colors, opacity = layer.convert("RGB"), layer.getchannel("A")
    if value_range is not None:
        layer = _stretched(colors, value_range)
        layer.putalpha(opacity)
    page = Image.new("RGBA", layer.size, "white")
    return _counted(Image.alpha_composite(page, layer).convert(mode), lambda: _extremes(histogram_of(colors, opacity)))


def histogram_of(image: Image.Image, opacity: Image.Image | None = None) -> NDArray[np.int64]:
    """Return how many pixels have each level, (C, 256), of the parts that are not transparent.

    It takes no memory however large the image is.
    """
    return np.array(image.histogram(opacity), np.int64).reshape(-1, 256)


@lru_cache
def levels_of(bits: int, value_range: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Return the level, 0 to 255, of each value that so many bits can store; read-only."""
    low, high = value_range or (0, (1 << bits) - 1)
    values = np.clip(np.arange(1 << bits, dtype=np.float64), low, high)
    levels = np.floor((values - low) / (high - low) * 255 + 0.5).astype(np.uint8)
    levels.flags.writeable = False
    return levels


def _counted(image: Image.Image, stored: Callable[[], StoredValues]) -> EightBits:
    return EightBits(image, stored, lambda: histogram_of(image))


def _once(count: Callable[[], NDArray[np.int64]]) -> Callable[[], NDArray[np.int64]]:
    """Return a function that counts at its first call."""
    return lru_cache(maxsize=1)(count)


def _stretched(image: Image.Image, value_range: tuple[float, float]) -> Image.Image:
    """Return an image of mode L or RGB with the values of a range as its levels."""
    return image.point(levels_of(8, value_range).tolist() * len(image.getbands()))


def _extremes(counts: NDArray[np.int64]) -> StoredValues:
    """Return the least and greatest levels that occur; of nothing 255 and 0."""
    levels = np.flatnonzero(counts.any(axis=0))
    return StoredValues(8, int(levels[0]), int(levels[-1])) if len(levels) else StoredValues(8, 255, 0)


def _extremes_of_16_bits(values: NDArray[np.uint32], shown: NDArray[np.bool_]) -> StoredValues:
    low, high = np.min(values, where=shown, initial=_GREATEST), np.max(values, where=shown, initial=0)
    return StoredValues(16, int(low), int(high))
