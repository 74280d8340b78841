"""PNG files whose bytes follow from the pixels alone: what sources that make images deliver, and how it is read."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {1: 0, 3: 2}
_CHANNELS = {color: channels for channels, color in _COLOR_TYPES.items()}
_STORED_BYTES = 65_535  # What one stored block of a deflate stream can hold.
_HEADER = struct.Struct(">IIBB")  # Width, height, bits and color type, as the body of the first chunk begins.
_HEADER_AT = len(_SIGNATURE) + 8
_STREAM_AT = _HEADER_AT + 13 + 4 + 8 + 2  # The rest of that chunk, the head of the next, the head of its stream.


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


def decode_png(payload: bytes) -> NDArray[np.uint8] | None:
    """Return the (H, W, C) uint8 pixels of a file that `encode_png` has written; None of all other files.

    It is such a file exactly if its pixels are encoded to the same bytes again.
    """
    if not payload.startswith(_SIGNATURE) or len(payload) < _STREAM_AT:
        return None
    width, height, _, color = _HEADER.unpack_from(payload, _HEADER_AT)
    channels = _CHANNELS.get(color, 0)
    size = height * (1 + width * channels)
    if not (width and channels and 0 < size < len(payload)):
        return None
    # Each block has a head of five bytes.
    blocks = range(_STREAM_AT + 5, _STREAM_AT + size + 5 * -(-size // _STORED_BYTES), _STORED_BYTES + 5)
    raw = b"".join(payload[at : at + _STORED_BYTES] for at in blocks)[:size]
    if len(raw) < size:
        return None
    rows = np.frombuffer(raw, np.uint8).reshape(height, -1)
    pixels = np.ascontiguousarray(rows[:, 1:]).reshape(height, width, channels)
    return pixels if encode_png(pixels) == payload else None


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
