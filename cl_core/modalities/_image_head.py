"""What files of images begin with, so that one is found whatever it is called."""

import re
import struct

HEAD_BYTES = 512
"""Bytes of a file that tell whether it is an image."""

# Formats whose first bytes are those of nothing else. The box of an AVIF file has its length first.
_UNMISTAKABLE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|GIF8[79]a|II[*+]\0|MM\0[*+]|.{4}ftypavi[fs]", re.DOTALL
)
# BMP: the sizes of the header that follows the first 14 bytes, by version; what it has of width, height, planes, bits.
_BMP_START = 14
_BMP_HEADERS = {12: "<HHHH", **dict.fromkeys((40, 52, 56, 64, 108, 124), "<iiHH")}
_BMP_BITS = {1, 2, 4, 8, 16, 24, 32}
# PNM: PBM has width and height in its header, PGM and PPM have the greatest value, too.
_BETWEEN = rb"(?:\s|#[^\r\n]*[\r\n])+"
_NUMBER = rb"0*([1-9]\d{0,6})"
_SIDES = _BETWEEN + _NUMBER + _BETWEEN + _NUMBER
_PNM = re.compile(rb"P(?:([14])" + _SIDES + rb"|([2356])" + _SIDES + _BETWEEN + _NUMBER + rb")\s")
_PBM_TEXT, _PBM, _OF_COLORS, _FIRST_BINARY = 1, 4, (3, 6), 4
_MAX_VALUE = 65_535
_COMMENT = re.compile(rb"#[^\r\n]*")
_LINES_OF_TEXT = re.compile(rb"[ -~]*[\t\r\n][\t\r\n -~]*")


def starts_like_image(head: bytes) -> bool:
    """Return whether a file is an image, by its first `HEAD_BYTES`, whatever it is called."""
    return bool(_UNMISTAKABLE.match(head)) or _is_bmp(head) or _is_pnm(head)


def _is_bmp(head: bytes) -> bool:
    """Return whether a file that begins with BM is BMP and not text, by the numbers in its headers."""
    if not head.startswith(b"BM") or len(head) < _BMP_START + 16:
        return False
    pixels_at, size = struct.unpack_from("<II", head, 10)
    if size not in _BMP_HEADERS or pixels_at < _BMP_START + size:
        return False
    width, height, planes, bits = struct.unpack_from(_BMP_HEADERS[size], head, _BMP_START + 4)
    return width > 0 and height != 0 and planes == 1 and bits in _BMP_BITS


def _is_pnm(head: bytes) -> bool:
    """Return whether a file that begins with P1 is PNM and not text, by its header and what follows."""
    match = _PNM.match(head)
    if not match or len(head) == match.end():
        return False
    kind, width, height, *rest = (int(number) for number in match.groups() if number)
    greatest, pixels = (rest or [1])[0], head[match.end() :]
    count = width * height * (3 if kind in _OF_COLORS else 1)
    if kind < _FIRST_BINARY:
        words = _COMMENT.sub(b"", pixels).split()
        if kind == _PBM_TEXT:  # Its digits need nothing between them.
            words = [bytes([digit]) for digit in b"".join(words)]
        likely = all(word.isdigit() and int(word) <= greatest for word in words)
        return likely and (len(words) >= count or len(head) == HEAD_BYTES)
    if kind == _PBM:
        count, first_bytes, limit = (width + 7) // 8 * height, pixels, 255
    elif greatest < 256:
        first_bytes, limit = pixels, greatest
    else:
        count, first_bytes, limit = 2 * count, pixels[::2], greatest >> 8
    likely = greatest <= _MAX_VALUE and max(first_bytes) <= limit and not _LINES_OF_TEXT.fullmatch(pixels)
    return likely and (len(pixels) >= count or len(head) == HEAD_BYTES)
