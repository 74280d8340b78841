"""Images are judged by several threads at once as they are by one, and warnings are then as they were."""

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from cl_core.modalities import Rejected
from cl_core.modalities._image_decoding import decode


def verdict(payload):
    try:
        return decode(payload).shape
    except Rejected as rejected:
        return rejected.reason, rejected.detail


def chunk(body):
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def png(side):
    """A PNG of one byte whose header says that it is large."""
    header = chunk(b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT" + zlib.compress(b"\0")) + chunk(b"IEND")


def odd_tiff():
    """A TIFF with an entry of more values than there are, of which Pillow warns."""
    file = io.BytesIO()
    Image.new("L", (16, 16)).save(file, "TIFF", description="x" * 10)
    small = bytearray(file.getvalue())
    small[small.index(struct.pack("<HH", 270, 2)) + 4] = 255
    return bytes(small)


def test_several_threads_judge_as_one_does():
    sound = io.BytesIO()
    Image.new("L", (64, 64)).save(sound, "PNG")
    payloads = [png(10_000), sound.getvalue(), odd_tiff(), png(60_000), b"text"] * 40
    filters = list(warnings.filters)
    one = [verdict(payload) for payload in payloads]
    with ThreadPoolExecutor(4) as pool:
        several = list(pool.map(verdict, payloads))
    assert several == one
    assert one[0] == (
        "too_large",
        "Image size (100000000 pixels) exceeds limit of 89478485 pixels, could be decompression bomb DOS attack.",
    )
    assert one[1] == (64, 64, 1)
    assert warnings.filters == filters
    with pytest.raises(UserWarning):  # They are errors again in tests.
        warnings.warn("a warning", UserWarning, stacklevel=1)
