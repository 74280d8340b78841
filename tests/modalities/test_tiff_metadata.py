"""Broken metadata of a TIFF decide nothing: neither whether it is read, nor which pixels it has."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from cl_core.modalities import Rejected
from cl_core.modalities._image_decoding import decode
from cl_core.modalities._metadata import without_metadata

COLORS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
UPSIDE_DOWN = COLORS[::-1, ::-1]
SHORT, LONG, LONG8 = 3, 4, 16
BEYOND = 1 << 30


def tiff(values, *, order="<", big=False, extra=(), sample_format=1, orientation=0):
    """A TIFF straight from the standard (TIFF 6.0, Sec. 2, or BigTIFF) with extra entries: tag, type, count, value."""
    height, width, bands = values.shape
    long = LONG8 if big else LONG  # Fills its place, in either order of bytes.
    count, entry, place, start, size = ("Q", "HHQQ", "Q", 16, 20) if big else ("H", "HHII", "I", 8, 12)
    fields = {
        256: width, 257: height, 259: 1, 262: 2 if bands == 3 else 1, 277: bands, 278: height, 279: values.nbytes,
        284: 1, **({274: orientation} if orientation else {}),
    }  # fmt: skip
    entries = [(tag, SHORT if tag == 274 else long, 1, value) for tag, value in fields.items()]
    number = len(entries) + 3 + len(extra)
    bits_at = start + struct.calcsize(order + count) + number * size + struct.calcsize(order + place)
    lists = struct.pack(f"{order}{2 * bands}H", *[8 * values.itemsize] * bands, *[sample_format] * bands)
    for tag, at in {258: 0, 339: 2 * bands}.items():
        inline = lists[at : at + 2 * bands]
        entries.append((tag, SHORT, bands, inline if len(inline) <= struct.calcsize(place) else bits_at + at))
    entries.append((273, long, 1, bits_at + len(lists)))
    entries += [tuple(one) for one in extra]
    packed = b""
    for tag, type_, many, value in sorted(entries, key=lambda one: one[0]):
        inline = struct.pack(f"{order}H", value) if (type_, many) == (SHORT, 1) and tag == 274 else value
        if isinstance(inline, bytes):  # At the left of its place, whatever the order of bytes.
            inline = inline.ljust(struct.calcsize(place), b"\0")
            packed += struct.pack(order + entry[:-1], tag, type_, many) + inline
        else:
            packed += struct.pack(order + entry, tag, type_, many, inline)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    head += struct.pack(f"{order}HHQ", 8, 0, start) if big else struct.pack(f"{order}I", start)
    directory = struct.pack(order + count, number) + packed + struct.pack(order + place, 0)
    return head + directory + lists + values.astype(values.dtype.newbyteorder(order)).tobytes()


BROKEN = {
    "a description beyond the file": (270, 2, 100, BEYOND),
    "a description of an unknown type": (270, 99, 100, 12),
    "a description without an end": (270, 2, BEYOND, 8),
    "a description of doubles": (270, 12, 3, BEYOND),
    "software beyond the file": (305, 2, 100, BEYOND),
    "a resolution beyond the file": (282, 5, 1, BEYOND),
    "a resolution of text": (283, 2, 3, 0),
    "a date of another type": (306, 7, 4000, BEYOND),
    "folders of pages beyond the file": (330, 13, 2, BEYOND),
    "EXIF beyond the file": (34665, LONG, 1, BEYOND),
    "EXIF in circles": (34665, LONG, 1, 8),
    "a color profile beyond the file": (34675, 7, 5000, BEYOND),
    "XMP beyond the file": (700, 1, 5000, BEYOND),
    "GPS of text": (34853, 2, 2, 0),
    "a private entry": (65000, 12, 7, BEYOND),
    "an orientation beyond the file": (274, SHORT, 100, BEYOND),
    "an orientation of text": (274, 2, 4, 0),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])  # Others Pillow does not read.
def test_a_tiff_is_read_whatever_its_metadata(broken, order, big):
    np.testing.assert_array_equal(decode(tiff(COLORS, order=order, big=big, extra=[broken])), COLORS)
    if broken[0] != 274:
        turned = tiff(COLORS, order=order, big=big, extra=[broken], orientation=3)
        np.testing.assert_array_equal(decode(turned), UPSIDE_DOWN)


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_follows_broken_metadata_still_says_what_the_values_are(broken):
    """The type of values (339) is behind the description: without it signed numbers would be read as unsigned ones."""
    with pytest.raises(Rejected, match="signed or 32-bit integers") as rejected:
        decode(tiff(np.array([[[-5], [300]]], np.int16), sample_format=2, extra=[broken]))
    assert rejected.value.reason == "unknown_range"


def saved(image, **settings):
    file = io.BytesIO()
    image.save(file, "TIFF", **settings)
    return file.getvalue()


def with_broken_description(payload):
    """Point the description of a TIFF that Pillow wrote beyond the file."""
    (at,) = struct.unpack_from("<I", payload, 4)
    (number,) = struct.unpack_from("<H", payload, at)
    entries = [at + 2 + 12 * index for index in range(number)]
    (place,) = (entry for entry in entries if struct.unpack_from("<H", payload, entry)[0] == 270)
    return payload[: place + 8] + struct.pack("<I", BEYOND) + payload[place + 12 :]


MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16")
KINDS = [
    *((mode, compression) for mode in MODES for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")),
    *((mode, "jpeg") for mode in ("L", "RGB", "CMYK")),
    *(("1", fax) for fax in ("group3", "group4")),
]


@pytest.mark.parametrize(("mode", "compression"), KINDS)
def test_in_every_mode_and_compression_the_pixels_stay_as_they_are(mode, compression):
    image = (
        Image.fromarray(COLORS[..., 0].astype(np.uint16) * 250)
        if mode == "I;16"
        else Image.fromarray(COLORS).convert(mode)
    )
    payload = saved(image, compression=compression, description="a long description of it", software="of someone")
    theirs = Image.open(io.BytesIO(payload))
    for keep_exif in (True, False):
        ours = Image.open(io.BytesIO(without_metadata(payload, keep_exif=keep_exif)))
        assert ours.mode == theirs.mode
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    np.testing.assert_array_equal(decode(with_broken_description(payload)), decode(payload))


def test_predicted_values_are_read_behind_a_broken_description():
    payload = saved(Image.fromarray(COLORS), compression="tiff_lzw", tiffinfo={317: 2, 270: "a long description"})
    np.testing.assert_array_equal(decode(with_broken_description(payload)), COLORS)


def test_cut_at_any_byte_nothing_but_a_verdict_comes_out():
    for payload in (tiff(COLORS, orientation=3), tiff(COLORS, big=True, order=">")):
        for length in range(len(payload)):
            without_metadata(payload[:length], keep_exif=True)
        for length in (2, 8, 30, 90, 200, len(payload) - 1):
            with pytest.raises(Rejected):
                decode(payload[:length])
