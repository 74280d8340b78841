"""Files of images are found by what they begin with; texts that begin like one are not taken for images."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, features

from cl_core.modalities._image_decoding import FORMATS, decode
from cl_core.modalities._image_head import HEAD_BYTES, starts_like_image

COLORS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def encoded(image, kind, **settings):
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def bmp(bits, header=40, *, top_down=False):
    """A black BMP of 3 x 2 pixels, straight from the format's description, for what Pillow does not write."""
    sides = struct.pack("<HHHH", 3, 2, 1, bits) if header == 12 else struct.pack("<iiHH", 3, [2, -2][top_down], 1, bits)
    info = (struct.pack("<I", header) + sides).ljust(header, b"\0")
    palette = bytes((3 if header == 12 else 4) << bits) if bits <= 8 else b""
    start = 14 + len(info) + len(palette)
    pixels = bytes(2 * ((3 * bits + 31) // 32 * 4))
    return struct.pack("<2sIII", b"BM", 0, 0, start) + info + palette + pixels


IMAGES = {
    **{kind: encoded(Image.fromarray(COLORS), kind) for kind in FORMATS},
    "gray BMP": encoded(Image.fromarray(COLORS[..., 0]), "BMP"),
    "black and white BMP": encoded(Image.new("1", (9, 6)), "BMP"),
    **{f"BMP of {bits} bits": bmp(bits) for bits in (1, 4, 8, 24, 32)},
    **{f"BMP with a header of {size}": bmp(24, size) for size in (12, 64)},
    "BMP from the top": bmp(24, top_down=True),
    "P1": b"P1\n# a comment\n2 2\n1 0\n0 1\n",
    "P1 without blanks": b"P1 2 2 1001",
    "P2": b"P2\n2 1\n255\n7 200 # the end\n",
    "P3": b"P3 1 1 9\n1 2 9\n",
    "P4": encoded(Image.new("1", (9, 6)), "PPM"),
    "P5": encoded(Image.fromarray(COLORS[..., 0]), "PPM"),
    "P5 of 16 bits": encoded(Image.fromarray(COLORS[..., 0].astype(np.uint16) * 257), "PPM"),
    "P5 of 12 bits": b"P5\n3 1\n4095\n" + struct.pack(">3H", 0, 2048, 4095),
    "P6 by GIMP": b"P6\n# Created by GIMP version 2.10.8 PNM plug-in\n40 40\n255\n" + bytes(range(240)) * 20,
    "P5 of one level": b"P5 30 30 255\n" + b"d" * 900,
}


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_every_format_is_known_by_its_first_bytes(image):
    assert starts_like_image(image[:HEAD_BYTES])
    assert decode(image).size


TEXTS = {
    "of cars": b"BMW, P5 and others",
    "of a patient": b"P1 was 34 years old, P2 was 41.\n",
    "of numbers": b"P1 10 20 30 40 50\nP2 20 10 3\n",
    "a table": b"P5\t12\t30\t200\nP6\t13\t31\t190\n" + b"P7\t1\t2\t3\n" * 90,
    "a short table": b"P5,12,30,200\nP6,13,31,190\n",
    "of levels": b"P6 10 20 30 dogs",
    "of a large level": b"P5 2 2 70000\n" + bytes(99),
    "three numbers": b"P6 3 4 255 and words",
    "long words": b"BM" + b"and more words " * 99,
    "the first letters": b"BM",
    "a header alone": b"P5 3 3 255\n",
    "one word": b"P4",
    "zeros": b"P5 0 0 255\n" + bytes(99),
    "bits that are 2": b"P1 2 2 1 0 0 2",
    "values beyond the greatest": b"P2 2 2 9 1 2 3 10",
    "a text of the Vatican": "BM Città, naïve\n".encode() * 40,
    "bytes after BM": b"BM" + bytes(60),
    "nothing": b"",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_that_begins_like_an_image_is_none(text):
    assert not starts_like_image(text[:HEAD_BYTES])


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_all_formats_were_tried():
    assert set(FORMATS) <= set(IMAGES)
