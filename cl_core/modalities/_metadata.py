"""Encoded images without their metadata: text, color profiles and thumbnails must not decide whether pixels are read.

Decoders stop at a text chunk that is too large or a checksum that is wrong, although the pixels behind it are whole.
Each function keeps what the pixels need. A file that is damaged elsewhere comes out as damaged as it was.
"""

import struct
import zlib
from collections.abc import Callable

from cl_core.modalities._tiff_metadata import is_tiff, tiff_without_metadata

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOR_TYPE = 25  # Where the header has it.
_PNG_TRANSPARENCY = {0: 2, 2: 6}  # Bytes of the transparent gray or color.
_JPEG_START, _JPEG_SCAN = b"\xff\xd8", 0xDA
# Of JPEG's application segments: the density, and Adobe's, which says how colors are transformed.
_JPEG_KEPT = {0xE0, 0xEE}
_JPEG_EXIF, _JPEG_APPLICATIONS, _JPEG_COMMENT = 0xE1, range(0xE0, 0xF0), 0xFE
_WEBP_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}


def without_metadata(payload: bytes, *, keep_exif: bool) -> bytes:
    """Return a PNG, JPEG, WebP or TIFF file without metadata; any other as it is.

    Args:
        payload: The encoded image.
        keep_exif: Whether EXIF stays, which has the orientation.
    """
    formats: dict[bytes, Callable[[bytes, bool], bytes]] = {_PNG_SIGNATURE: _png, _JPEG_START: _jpeg, b"RIFF": _webp}
    for signature, strip in formats.items():
        if payload.startswith(signature):
            return strip(payload, keep_exif)
    return tiff_without_metadata(payload, keep_exif) if is_tiff(payload) else payload


def _png(payload: bytes, keep_exif: bool) -> bytes:
    """Keep critical chunks as they are (PNG Sec. 5.4: upper case), and transparency with its checksum made right."""
    parts, at = [_PNG_SIGNATURE], len(_PNG_SIGNATURE)
    transparency = _PNG_TRANSPARENCY.get(payload[_PNG_COLOR_TYPE], 0) if len(payload) > _PNG_COLOR_TYPE else 0
    while at + 8 <= len(payload):
        length, kind = struct.unpack_from(">I4s", payload, at)
        chunk = payload[at : at + 12 + length]
        if kind[:1].isupper():
            parts.append(chunk)
        elif (kind == b"tRNS" and length >= transparency) or (kind == b"eXIf" and keep_exif):
            body = chunk[4 : 8 + length]
            parts.append(chunk[:4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    return b"".join(parts)


def _jpeg(payload: bytes, keep_exif: bool) -> bytes:
    parts, at = [_JPEG_START], len(_JPEG_START)
    while at + 4 <= len(payload) and payload[at] == 0xFF:
        marker = payload[at + 1]
        if marker == 0xFF:  # A fill byte.
            at += 1
            continue
        if marker == _JPEG_SCAN:
            break
        length = 2 + int.from_bytes(payload[at + 2 : at + 4], "big")
        is_exif = marker == _JPEG_EXIF and payload[at + 4 : at + 8] == b"Exif"
        is_metadata = marker == _JPEG_COMMENT or (marker in _JPEG_APPLICATIONS and marker not in _JPEG_KEPT)
        if not is_metadata or (is_exif and keep_exif):
            parts.append(payload[at : at + length])
        at += length
    return b"".join((*parts, payload[at:]))


def _webp(payload: bytes, keep_exif: bool) -> bytes:
    dropped = {kind: flag for kind, flag in _WEBP_FLAGS.items() if not (keep_exif and kind == b"EXIF")}
    parts, at = [], 12
    while at + 8 <= len(payload):
        kind, length = struct.unpack_from("<4sI", payload, at)
        chunk = payload[at : at + 8 + length + length % 2]
        if kind == b"VP8X" and len(chunk) > 8:
            chunk = chunk[:8] + bytes([chunk[8] & ~sum(dropped.values())]) + chunk[9:]
        if kind not in dropped:
            parts.append(chunk)
        at += 8 + length + length % 2
    body = b"".join(parts)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + payload[8:12] + body
