"""Count the rows of a snapshot into its profile.

All sums are of integers, so the profile does not depend on the order of the rows.
"""

import math
import struct
from collections import Counter
from typing import Literal

from cl_core.data.ingest.inspection import MOMENTS
from cl_core.data.snapshot import SPLITS, SizeCount, SnapshotProfile

_LISTED_SIZES = 20


class Tally:
    """Sums over the rows of a snapshot."""

    def __init__(self) -> None:
        self.per_class: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.formats: Counter[str] = Counter()
        self.quarantined: Counter[str] = Counter()
        self.channels: Literal[1, 3] = 1
        self.image_bytes = self.copies = self.leaked = self.train_pixels = 0
        self._moments = [0] * MOMENTS

    def add(
        self, split: str, label: str, payload: bytes, name: str, width: int, height: int, channels: int, moments: bytes
    ) -> None:
        """Count one distinct row; the last five arguments are the fields of a `PayloadInfo` after its id."""
        self.per_class[split][label] += 1
        self.sizes[width, height] += 1
        self.formats[name] += 1
        self.image_bytes += len(payload)
        if channels == 3:
            self.channels = 3
        if split == "train":
            self.train_pixels += width * height
            # Python's integers, as 64 bits could overflow: squares of large images reach 2**42 each.
            parts = struct.unpack(f"={MOMENTS}q", moments)
            self._moments = [total + part for total, part in zip(self._moments, parts, strict=True)]

    def profile(self, *, name: str, digest: str) -> SnapshotProfile:
        """Return the profile of what was counted."""
        rows = {split: counts.total() for split, counts in self.per_class.items()}
        labeled = {split: {c: n for c, n in sorted(counts.items()) if c} for split, counts in self.per_class.items()}
        moments = [self._channel(channel) for channel in range(self.channels)]
        return SnapshotProfile(
            name=name,
            digest=digest,
            rows=rows,
            classes=sorted({label for counts in labeled.values() for label in counts}),
            per_class=labeled,
            unlabelled={split: counts[""] for split, counts in self.per_class.items()},
            channels=self.channels,
            mean=tuple(mean for mean, _ in moments),
            std=tuple(std for _, std in moments),
            sizes=[
                SizeCount(width=width, height=height, count=count)
                for (width, height), count in sorted(self.sizes.items(), key=lambda size: (-size[1], size[0]))
            ][:_LISTED_SIZES],
            distinct_sizes=len(self.sizes),
            formats=dict(sorted(self.formats.items())),
            image_bytes=self.image_bytes,
            inputs=self.copies + self.quarantined.total(),
            duplicates=self.copies - sum(rows.values()),
            leaked=self.leaked,
            quarantined=dict(sorted(self.quarantined.items())),
        )

    def _channel(self, channel: int) -> tuple[float, float]:
        """Return mean and standard deviation of a channel in the training split, in 0..1; zeros when it is empty."""
        n, total, squares = self.train_pixels, self._moments[channel], self._moments[3 + channel]
        if n == 0:
            return 0.0, 0.0
        return total / n / 255, math.sqrt(n * squares - total**2) / n / 255
