"""PNG files whose bytes follow from the pixels alone: what sources that make images deliver."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {1: 0, 3: 2}
_STORED_BYTES = 65_535  # What one stored block of a deflate stream can hold.


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return the PNG of (H, W, C) uint8 pixels, C 1 (grayscale) or 3 (RGB), stored without compression.

    Compressed bytes would differ between builds of zlib, and with them the ids of the samples and the digest of the
    snapshot. Stored bytes follow from the pixels alone, and are faster to write and to read.
    """
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # Each row starts with its filter: 0, none.
    rows[:, 1:] = pixels.reshape(height, -1)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", _stored(rows.tobytes())) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _stored(raw: bytes) -> bytes:
    """Return a zlib stream (RFC 1950, 1951) of stored blocks."""
    blocks = []
    for start in range(0, len(raw), _STORED_BYTES):
        block = raw[start : start + _STORED_BYTES]
        last = start + len(block) == len(raw)
        blocks.append(struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block)
    return b"\x78\x01" + b"".join(blocks) + struct.pack(">I", zlib.adler32(raw))
