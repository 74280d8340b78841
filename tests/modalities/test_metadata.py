"""Metadata never decide whether an image is read; an orientation that can be read is honored."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cl_core.modalities import Rejected
from cl_core.modalities._image_decoding import decode
from cl_core.modalities._metadata import without_metadata

COLORS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
TURNED = np.rot90(COLORS, -1)  # Orientation 6: the first row is the right-hand side.


def encoded(kind, *, orientation=0, **settings):
    file = io.BytesIO()
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        settings["exif"] = exif
    Image.fromarray(COLORS).save(file, kind, **settings)
    return file.getvalue()


def chunk(kind, body, *, checksum=None):
    right = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", right if checksum is None else checksum)


def with_chunk(png, extra, *, before=b"IDAT"):
    at = png.index(before) - 4
    return png[:at] + extra + png[at:]


LARGE_TEXT = b"parameters\0\0" + zlib.compress(b"x" * (3 << 20))
PNG_CHUNKS = {
    "text of 3 MiB": chunk(b"zTXt", LARGE_TEXT),
    "wrong checksum of a text": chunk(b"tEXt", b"Software\0Blender", checksum=1),
    "wrong checksum of a time": chunk(b"tIME", bytes(7), checksum=1),
    "color profile of 3 MiB": chunk(b"iCCP", b"p\0\0" + zlib.compress(b"x" * (3 << 20))),
    "broken color profile": chunk(b"iCCP", b"p\0\0not compressed"),
    "broken EXIF": chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
    "EXIF of noise": chunk(b"eXIf", np.random.default_rng(1).bytes(999)),
    "text without an end": chunk(b"iTXt", b"Comment"),
}


@pytest.mark.parametrize("extra", PNG_CHUNKS.values(), ids=PNG_CHUNKS)
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_a_png_is_read_whatever_its_metadata(extra, before):
    np.testing.assert_array_equal(decode(with_chunk(encoded("PNG"), extra, before=before)), COLORS)


def test_an_orientation_beside_a_broken_text_is_honored():
    png = with_chunk(encoded("PNG", orientation=6), PNG_CHUNKS["text of 3 MiB"])
    np.testing.assert_array_equal(decode(png), TURNED)


def test_transparency_counts_whatever_its_checksum():
    transparent = chunk(b"tRNS", struct.pack(">3H", *COLORS[0, 0]), checksum=1)
    pixels = decode(with_chunk(encoded("PNG"), transparent))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(pixels[1:], COLORS[1:])


def test_transparency_that_ends_early_does_not_count():
    np.testing.assert_array_equal(decode(with_chunk(encoded("PNG"), chunk(b"tRNS", b"\0\1\0"))), COLORS)


def test_a_wrong_checksum_of_what_pixels_need_is_damage():
    png = bytearray(encoded("PNG"))
    at = png.index(b"IHDR") - 4
    png[at + 8 + int.from_bytes(png[at : at + 4], "big")] ^= 1
    with pytest.raises(Rejected) as caught:
        decode(bytes(png))
    assert caught.value.reason == "damaged"


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body


@pytest.mark.parametrize(
    "extra",
    [
        segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
        segment(0xE1, b"Exif\0\0" + np.random.default_rng(1).bytes(999)),
        segment(0xE2, b"MPF\0" + np.random.default_rng(2).bytes(99)),
        segment(0xE2, b"ICC_PROFILE\0\x09\x01" + bytes(99)),
        segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\xff"),
        segment(0xFE, b"\xff\xfe comment"),
        *(segment(0xE2, b"ICC_PROFILE\0\x01\x01" + bytes(65_000)) * 40,),
    ],
    ids=["broken EXIF", "EXIF of noise", "pictures of noise", "profile in parts", "Photoshop", "comment", "2 MiB"],
)
def test_a_jpeg_is_read_whatever_its_metadata(extra):
    jpeg = encoded("JPEG")
    np.testing.assert_array_equal(decode(jpeg[:2] + extra + jpeg[2:]), decode(jpeg))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_remains_has_the_same_pixels_and_the_orientation_that_was_asked_for(kind):
    settings = {"lossless": True} if kind == "WEBP" else {}
    payload = encoded(kind, orientation=6, icc_profile=np.random.default_rng(3).bytes(3000), **settings)
    plain, turned = without_metadata(payload, keep_exif=False), without_metadata(payload, keep_exif=True)
    assert len(plain) < len(turned) < len(payload) - 2500
    np.testing.assert_array_equal(np.rot90(decode(plain), -1), decode(payload))
    np.testing.assert_array_equal(decode(turned), decode(payload))


def test_a_webp_with_broken_exif_is_read():
    webp = encoded("WEBP", lossless=True, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(decode(webp), COLORS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_cut_at_any_byte_nothing_but_a_verdict_comes_out(kind):
    payload = encoded(kind, orientation=6, icc_profile=b"x" * 300)
    for length in range(len(payload)):
        for keep_exif in (True, False):
            without_metadata(payload[:length], keep_exif=keep_exif)
    with pytest.raises(Rejected):
        decode(payload[: len(payload) // 2])


def test_other_files_stay_as_they_are():
    assert without_metadata(b"GIF89a...", keep_exif=False) == b"GIF89a..."
    assert without_metadata(b"", keep_exif=False) == b""
