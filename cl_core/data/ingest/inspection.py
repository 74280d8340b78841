"""Looking at inputs: the identity, soundness and measures of each image, found by decoding it once."""

import hashlib
import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cl_core.data.sources import RawSample, SourceEntry, Unreadable
from cl_core.modalities.decode import Rejected, decode_image

_LEVELS = np.arange(256, dtype=np.int64)
_POWERS = np.stack([_LEVELS, _LEVELS**2], axis=1)


class PayloadInfo(NamedTuple):
    """What is known of one sound image.

    Args:
        id: sha256 of the encoded bytes.
        format: JPEG, PNG, WEBP or GIF.
        width: Pixels, once upright.
        height: Pixels, once upright.
        channels: 1 or 3.
        moments: Six int64: the sums of its R, G and B levels (0..255), then of their squares. Greyscale has three
            equal channels.
    """

    id: bytes
    format: str
    width: int
    height: int
    channels: int
    moments: bytes


@dataclass(frozen=True)
class Unchanged:
    """An input that is as it was when an earlier ingestion looked at it, and what was found then."""

    listed: SourceEntry
    found: PayloadInfo | Rejected


Input = RawSample | Unreadable | Unchanged


def inspect_payloads(inputs: list[Input]) -> list[PayloadInfo | Rejected]:
    """What was found in each input, or why it is rejected, in the same order."""
    return [_check(each) for each in inputs]


def _check(given: Input) -> PayloadInfo | Rejected:
    if isinstance(given, Unchanged):
        return given.found
    if isinstance(given, Unreadable):
        return Rejected("unreadable", given.detail)
    try:
        image, name = decode_image(given.payload)
    except Rejected as rejected:
        return Rejected(rejected.reason, rejected.detail)  # A fresh one: the caught one's traceback holds the image.
    # A histogram takes no memory however large the image is, and makes both sums exact.
    counts = np.array(image.histogram(), np.int64).reshape(-1, 256)
    sums, squares = (counts @ _POWERS).T.tolist()
    if len(counts) == 1:
        sums, squares = sums * 3, squares * 3
    moments = struct.pack("=6q", *sums, *squares)
    return PayloadInfo(hashlib.sha256(given.payload).digest(), name, image.width, image.height, len(counts), moments)
