"""What a snapshot's profile says of its images: sizes, channels and their moments, and which values are used."""

import math
import struct
from collections import Counter
from typing import Any, Literal

from cl_core.specs import ValueRange

NARROW_SHARE = 1 / 16  # Of a range, that values of 12 bits just use of 16.

# Width, height, channels, bits of a value, its least and greatest value; then the sums of the R, G and B levels, 0 to
# 255, and of their squares. Grayscale has three equal channels.
MEASURES = struct.Struct("=iibbii6q")

_LISTED_SIZES = 20


class ImageProfiler:
    """Sums over images, all of integers, so that the profile does not depend on their order."""

    def __init__(self, value_range: ValueRange | None) -> None:
        self._value_range = value_range
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._values: dict[int, tuple[int, int, int]] = {}  # Images, least and greatest value, by bits of a value.
        self._channels: Literal[1, 3] = 1
        self._train_pixels, self._moments = 0, [0] * 6

    def add(self, split: str, measures: bytes) -> None:
        """Count one distinct image."""
        width, height, channels, bits, low, high, *moments = MEASURES.unpack(measures)
        self._sizes[width, height] += 1
        if channels == 3:
            self._channels = 3
        images, least, greatest = self._values.get(bits, (0, low, high))
        self._values[bits] = (images + 1, min(least, low), max(greatest, high))
        if split == "train":
            self._train_pixels += width * height
            # Python's integers, as 64 bits could overflow: squares of large images reach 2**42 each.
            self._moments = [total + part for total, part in zip(self._moments, moments, strict=True)]

    def profile(self) -> dict[str, Any]:
        """Return channels and their moments, sizes, and what values are used."""
        moments = [self._channel(channel) for channel in range(self._channels)]
        sizes = sorted(self._sizes.items(), key=lambda size: (-size[1], size[0]))
        narrow = [
            {"bits": bits, "images": images, "low": low, "high": high}
            for bits, (images, low, high) in sorted(self._values.items())
            if _is_narrow(low, high, self._value_range or (0, (1 << bits) - 1))
        ]
        return {
            "channels": self._channels,
            "mean": tuple(mean for mean, _ in moments),
            "std": tuple(std for _, std in moments),
            "sizes": [
                {"width": width, "height": height, "count": count} for (width, height), count in sizes[:_LISTED_SIZES]
            ],
            "distinct_sizes": len(sizes),
            **({"value_range": self._value_range} if self._value_range else {}),
            **({"narrow": narrow} if narrow else {}),
        }

    def _channel(self, channel: int) -> tuple[float, float]:
        """Return mean and standard deviation of a channel in the training split, in 0..1; zeros when it is empty."""
        n, total, squares = self._train_pixels, self._moments[channel], self._moments[3 + channel]
        if n == 0:
            return 0.0, 0.0
        return total / n / 255, math.sqrt(n * squares - total**2) / n / 255


def _is_narrow(low: int, high: int, value_range: ValueRange) -> bool:
    """Return whether values cover a small part of a range. A single value says nothing of the range."""
    first, last = value_range
    return low < high and min(high, last) - max(low, first) <= NARROW_SHARE * (last - first)
