"""JPEG files as most programs write them, decoded by simplejpeg to the pixels that Pillow gives, in less time.

Both use libjpeg-turbo. Pillow reads headers in Python, and copies pixels to four bytes each. A header check leaves to
Pillow what is not plain: EXIF, several pictures, CMYK. So does a failure: Pillow decides on all that is damaged.
"""

import io
import logging
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

logger = logging.getLogger(__name__)

Decode = Callable[[bytes, int], NDArray[np.uint8]]

_START, _END = b"\xff\xd8", b"\xff\xd9"
_FRAMES = {0xC0, 0xC1, 0xC2}  # Baseline, extended and progressive, of Huffman codes (ITU T.81, Table B.1).
_SCAN, _JFIF, _ICC, _ADOBE = 0xDA, 0xE0, 0xE2, 0xEE
_TABLES_AND_COMMENT = {0xC4, 0xDB, 0xDD, 0xFE}
# How an application's segment must begin, and its least length: Pillow refuses shorter ones.
_APPLICATIONS = {_JFIF: (b"JFIF\0", 14), _ICC: (b"ICC_PROFILE\0", 14), _ADOBE: (b"Adobe", 12)}


def plain_jpeg(payload: bytes, *, most: int) -> NDArray[np.uint8] | None:
    """Return (H, W, C) uint8 of a plain JPEG of at most so many pixels, C 1 or 3; None where Pillow has to decode."""
    frame = frame_of(payload)
    if frame is None or frame[0] * frame[1] > most or (decode := fast_decoder()) is None:
        return None
    try:
        pixels = decode(payload, frame[2])
    except ValueError:
        return None
    return pixels if pixels.shape == frame else None


def frame_of(payload: bytes) -> tuple[int, int, int] | None:
    """Return height, width and channels of a plain JPEG by its header; None of all other files.

    Plain has 8 bits, gray or color, one picture and whole segments, and no metadata that could turn it.
    """
    if not (payload.startswith(_START) and payload.endswith(_END)):
        return None
    frame, at = None, len(_START)
    while at + 4 <= len(payload) and payload[at] == 0xFF:
        marker, body = payload[at + 1], at + 4
        length = int.from_bytes(payload[at + 2 : body], "big") - 2
        if marker == _SCAN:
            return frame
        if length < 0 or body + length > len(payload):
            return None
        if marker in _FRAMES:
            if frame or length not in (9, 15) or payload[body] != 8 or length != 6 + 3 * payload[body + 5]:
                return None
            height, width = (int.from_bytes(payload[body + i : body + i + 2], "big") for i in (1, 3))
            if not (height and width):
                return None
            frame = height, width, payload[body + 5]
        elif marker in _APPLICATIONS:
            begins, least = _APPLICATIONS[marker]
            if length < least or not payload.startswith(begins, body):
                return None
        elif marker not in _TABLES_AND_COMMENT:
            return None
        at = body + length
    return None


@cache
def fast_decoder() -> Decode | None:
    """Return the decoder of simplejpeg; None where it is not installed, or its pixels are not those of Pillow."""
    try:
        from simplejpeg import decode_jpeg
    except ImportError as error:
        logger.info("JPEG files are decoded by Pillow, since simplejpeg cannot be imported: %s", error)
        return None

    def decode(payload: bytes, channels: int) -> NDArray[np.uint8]:
        # The exact cosine transform and smooth chroma, as Pillow has them. Damage is an error.
        pixels: NDArray[np.uint8] = decode_jpeg(payload, "GRAY" if channels == 1 else "RGB", strict=True)
        return pixels

    equal = all(np.array_equal(decode(payload, image.shape[2]), image) for payload, image in _examples())
    if not equal:
        logger.info("JPEG files are decoded by Pillow, since the pixels of simplejpeg are others")
    return decode if equal else None


def _examples() -> list[tuple[bytes, NDArray[np.uint8]]]:
    """Return small JPEG files and their pixels: gray, and color with chroma sampled in three ways, also progressive."""
    values = np.arange(37 * 51 * 3, dtype=np.uint32).reshape(37, 51, 3)
    noise = (values * 2_654_435_761 >> 24).astype(np.uint8)  # Knuth's multiplicative hash.
    examples = []
    for settings in ({"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"progressive": True}):
        for picture in (Image.fromarray(noise), Image.fromarray(noise[..., 0])):
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=80, **settings)
            pixels = np.asarray(Image.open(file, formats=["JPEG"]))
            examples.append((file.getvalue(), pixels.reshape(*pixels.shape[:2], -1)))
    return examples
