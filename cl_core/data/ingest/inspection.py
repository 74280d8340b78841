"""Inspect inputs: decode each image once for its id, its size and its channel moments, or the reason to reject it."""

import hashlib
import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from cl_core.data.near_duplicates import perceptual_hashes
from cl_core.data.sources import RawSample, SourceEntry, Unreadable
from cl_core.modalities.image import Rejected, decode_image, to_shape
from cl_core.specs import ValueRange

MOMENTS = 6

_LEVELS = np.arange(256, dtype=np.int64)
_POWERS = np.stack([_LEVELS, _LEVELS**2], axis=1)


class PayloadInfo(NamedTuple):
    """What is known of one image that can be decoded."""

    id: bytes  # sha256 of the encoded bytes.
    format: str  # One of `image.FORMATS`.
    width: int  # Pixels, once upright.
    height: int  # Pixels, once upright.
    channels: int  # 1 or 3.
    # Six int64: the sums of its R, G and B levels (0..255), then of their squares. Grayscale has three equal channels.
    moments: bytes
    # (8,) bytes, its perceptual hash; None where it was not asked for, and of an image of one color.
    look: bytes | None
    bits: int  # The next three are `image.StoredValues`.
    low: int
    high: int


@dataclass(frozen=True)
class Unchanged:
    """An input that is unchanged since an earlier ingestion, and the result of its inspection then."""

    listed: SourceEntry
    result: PayloadInfo | Rejected


Input = RawSample | Unreadable | Unchanged


@dataclass(frozen=True)
class Inspection:
    """What is asked of each input beside whether it can be decoded."""

    value_range: ValueRange | None = None
    """Values that become black and white; None takes the full range."""
    look_size: int = 0
    """Side at which its perceptual hash is taken, in pixels; 0 takes none."""


def inspect_payloads(inputs: list[Input], asked: Inspection) -> list[PayloadInfo | Rejected]:
    """Return what is known of each input, or why it is rejected, in the same order."""
    return [_inspect(item, asked) for item in inputs]


def _inspect(item: Input, asked: Inspection) -> PayloadInfo | Rejected:
    if isinstance(item, Unchanged):
        return item.result
    if isinstance(item, Unreadable):
        return Rejected("unreadable", item.detail)
    try:
        image, name, stored = decode_image(item.payload, asked.value_range)
    except Rejected as rejected:
        return Rejected(rejected.reason, rejected.detail)  # A fresh one: the caught one's traceback holds the image.
    # A histogram takes no memory however large the image is, and makes both sums exact.
    counts = np.array(image.histogram(), np.int64).reshape(-1, 256)
    sums, squares = (counts @ _POWERS).T.tolist()
    if len(counts) == 1:
        sums, squares = sums * 3, squares * 3
    moments = struct.pack("=6q", *sums, *squares)
    look = _look(image, asked.look_size, len(counts)) if asked.look_size else None
    sample = hashlib.sha256(item.payload).digest()
    return PayloadInfo(sample, name, image.width, image.height, len(counts), moments, look, *stored)


def _look(image: Image.Image, size: int, channels: int) -> bytes | None:
    """Return the perceptual hash of the pixels that the training cache will hold, as 8 bytes; None of a plain image."""
    hashes, meaningful = perceptual_hashes(to_shape(image, (size, size, channels))[None])
    return hashes[:1].astype(">u8").tobytes() if meaningful[0] else None
