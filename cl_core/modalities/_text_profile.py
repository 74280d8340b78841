"""What a snapshot's profile says of its texts: how long they are."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

STEP = 16
"""Bytes: lengths of texts are counted in steps of so many, and models read a multiple of it."""

MOST_READ = 8192
"""Bytes: a model reads no more of a text, so longer texts are counted together."""

MEASURE_BYTES = 4


def measure(size: int) -> bytes:
    """Return the measure of a text of `size` bytes."""
    return size.to_bytes(MEASURE_BYTES, "little")


class TextProfiler:
    """Counts texts by their length."""

    def __init__(self) -> None:
        self._steps: Counter[int] = Counter()
        self._bytes = 0

    def add(self, split: str, measures: bytes) -> None:
        """Count the texts of one distinct sample."""
        del split
        for at in range(0, len(measures), MEASURE_BYTES):
            size = int.from_bytes(measures[at : at + MEASURE_BYTES], "little")
            self._bytes += size
            self._steps[min(-(-size // STEP), MOST_READ // STEP + 1)] += 1

    def profile(self) -> dict[str, Any]:
        """Return the bytes of all texts, and the number of texts by length, rounded up to a step."""
        lengths = {str(STEP * step): count for step, count in sorted(self._steps.items())}
        return {"text_bytes": self._bytes, "text_lengths": lengths}


def share_longer(content: Mapping[str, Any], length: int) -> float:
    """Return the share of a snapshot's texts with more than `length` bytes, a multiple of `STEP`."""
    counts: Mapping[str, int] = content["text_lengths"]
    longer = sum(count for size, count in counts.items() if int(size) > length)
    return longer / max(1, sum(counts.values()))
