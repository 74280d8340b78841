"""The profile of a dataset: what its manifest says about it, and the sums that lead there.

All sums are of whole numbers, so the profile does not depend on the order in which the rows were seen.
"""

import math
from collections import Counter
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cl_core.data.schema import FORMAT_VERSION, MOMENTS, SPLITS

_LISTED_SIZES = 20
_HELD_MOMENTS = 4096


class SizeCount(BaseModel):
    """Images of one size."""

    model_config = ConfigDict(frozen=True)

    width: int
    height: int
    count: int


class SnapshotFacts(BaseModel):
    """What a snapshot's manifest says of its content."""

    model_config = ConfigDict(frozen=True)

    format_version: int = FORMAT_VERSION
    name: str
    digest: str = Field(description="Of the ids, labels and splits of all rows, 64 hexadecimal digits.")
    rows: dict[str, int] = Field(description="Distinct samples per split.")
    classes: list[str] = Field(description="Sorted; empty without labels.")
    per_class: dict[str, dict[str, int]] = Field(description="Labelled samples per split and class.")
    unlabelled: dict[str, int] = Field(description="Samples without a label, per split.")
    channels: Literal[1, 3] = Field(description="1 when every image is greyscale.")
    mean: tuple[float, ...] = Field(description="Of the training split's pixels, per channel, in 0..1.")
    std: tuple[float, ...] = Field(description="Of the training split's pixels, per channel, in 0..1.")
    sizes: list[SizeCount] = Field(description="The most frequent sizes, most frequent first. Pixels.")
    distinct_sizes: int
    formats: dict[str, int] = Field(description="Samples per file format.")
    image_bytes: int = Field(description="Encoded size of all rows.")
    inputs: int = Field(description="What the source delivered, duplicates and rejected ones included.")
    duplicates: int = Field(description="Copies merged into another row of the same split.")
    leaked: int = Field(description="Contents that are in the training and in the test split.")
    quarantined: dict[str, int] = Field(description="Rejected inputs by reason.")


class Tally:
    """Sums over the rows of a snapshot, from which its profile is made."""

    def __init__(self) -> None:
        self.per_class: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.formats: Counter[str] = Counter()
        self.quarantined: Counter[str] = Counter()
        self.channels: Literal[1, 3] = 1
        self.image_bytes = self.copies = self.leaked = self.train_pixels = 0
        self._moments = [0] * MOMENTS
        self._held: list[bytes] = []

    def add(
        self, split: str, label: str, payload: bytes, name: str, width: int, height: int, channels: int, moments: bytes
    ) -> None:
        """Count one distinct row; the last five arguments are a `Finding`'s."""
        self.per_class[split][label] += 1
        self.sizes[width, height] += 1
        self.formats[name] += 1
        self.image_bytes += len(payload)
        if channels == 3:
            self.channels = 3
        if split == "train":
            self.train_pixels += width * height
            self._held.append(moments)
            if len(self._held) == _HELD_MOMENTS:
                self._sum_moments()

    def facts(self, *, name: str, digest: str) -> SnapshotFacts:
        """The profile of what was counted."""
        self._sum_moments()
        rows = {split: counts.total() for split, counts in self.per_class.items()}
        labelled = {split: {c: n for c, n in sorted(counts.items()) if c} for split, counts in self.per_class.items()}
        moments = [self._channel(channel) for channel in range(self.channels)]
        return SnapshotFacts(
            name=name,
            digest=digest,
            rows=rows,
            classes=sorted({label for counts in labelled.values() for label in counts}),
            per_class=labelled,
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

    def _sum_moments(self) -> None:
        held = np.frombuffer(b"".join(self._held), np.int64).reshape(-1, MOMENTS)
        # Python's integers take over before 64 bits could overflow: squares of large images reach 2**42 each.
        self._moments = [total + int(part) for total, part in zip(self._moments, held.sum(axis=0), strict=True)]
        self._held = []

    def _channel(self, channel: int) -> tuple[float, float]:
        """Mean and standard deviation of a channel in the training split, in 0..1; zeros when it is empty."""
        n, total, squares = self.train_pixels, self._moments[channel], self._moments[3 + channel]
        if n == 0:
            return 0.0, 0.0
        return total / n / 255, math.sqrt(n * squares - total**2) / n / 255
