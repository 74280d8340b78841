"""The transparent color of a PNG is that of the file, at every depth (PNG 3rd edition, Sec. 11.3.2.1)."""

import struct
import zlib

import numpy as np
import pytest

from cl_core.modalities._image_decoding import StoredValues, decode, decode_image

GRAY, RGB, PALETTE = 0, 2, 3
EXIF_UPSIDE_DOWN = b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x0112, 3, 1, 3) + bytes(4)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def packed(samples, depth):
    """A row of samples as the standard packs them: the leftmost in the highest bits."""
    if depth == 16:
        return struct.pack(f">{len(samples)}H", *samples)
    bits = "".join(f"{sample:0{depth}b}" for sample in samples)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def png(rows, depth, color, *chunks):
    """A PNG straight from the standard; rows of samples, without filters."""
    per_pixel = 3 if color == RGB else 1
    header = struct.pack(">IIBBBBB", len(rows[0]) // per_pixel, len(rows), depth, color, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + packed(row, depth) for row in rows))
    return b"".join((b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *chunks, chunk(b"IDAT", body), chunk(b"IEND", b"")))


def transparent(*values):
    return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_every_value_of_gray_may_be_the_transparent_one(depth):
    greatest = (1 << depth) - 1
    values = sorted({0, 1, 2, 3, 85, greatest // 2, greatest - 1, greatest} & set(range(greatest + 1)))
    for value in values:
        expected = [255 if one == value else int(one / greatest * 255 + 0.5) for one in values]
        found = decode(png([values], depth, GRAY, transparent(value)))
        assert found.ravel().tolist() == expected, value


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_of_a_transparent_value_beyond_the_depth_the_lower_bits_count(depth):
    assert decode(png([[1, 2]], depth, GRAY, transparent((1 << depth) + 1))).ravel().tolist()[0] == 255


def test_of_sixteen_bit_color_all_bits_of_the_transparent_color_count():
    hidden = (0x0034, 0x0056, 0x0078)
    colors = [hidden, (0x1234, 0x3456, 0x5678), (0x3400, 0x5600, 0x7800), (0x0034, 0x0056, 0x0079), (0x34, 0x156, 0x78)]
    found = decode(png([[value for color in colors for value in color]], 16, RGB, transparent(*hidden)))
    assert found[0].tolist() == [[255, 255, 255], *([value >> 8 for value in color] for color in colors[1:])]
    # Lower bytes that are those of the transparent color of an image whose upper bytes are others.
    other = decode(png([[0x1234, 0x3456, 0x5678]], 16, RGB, transparent(*hidden)))
    assert other.ravel().tolist() == [0x12, 0x34, 0x56]


def test_sixteen_bit_color_is_transparent_where_it_equals_the_color_and_is_turned_with_it():
    values = np.random.default_rng(0).integers(0, 3, (20, 30, 3)) * 256 + np.random.default_rng(1).integers(0, 3, (3,))
    hidden = values[4, 5]
    rows = values.reshape(20, -1).tolist()
    payload = png(rows, 16, RGB, transparent(*hidden.tolist()), chunk(b"eXIf", EXIF_UPSIDE_DOWN))
    is_hidden = (values == hidden).all(axis=2, keepdims=True)
    expected = np.where(is_hidden, 255, values >> 8)[::-1, ::-1]
    assert 5 < is_hidden.sum() < 100
    np.testing.assert_array_equal(decode(payload), expected)
    shown = (values >> 8)[~is_hidden[..., 0]]
    assert decode_image(payload)[2] == StoredValues(8, int(shown.min()), int(shown.max()))


def test_eight_bit_color_and_palettes_of_every_depth_are_transparent_where_the_file_says_so():
    assert decode(png([[1, 2, 3, 1, 2, 4]], 8, RGB, transparent(1, 2, 4)))[0].tolist() == [[1, 2, 3], [255, 255, 255]]
    colors = chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60]))
    for depth in (1, 2, 4, 8):
        half = decode(png([[0, 1]], depth, PALETTE, colors, chunk(b"tRNS", b"\xff\0")))
        assert half[0].tolist() == [[10, 20, 30], [255, 255, 255]], depth


def test_an_interlaced_image_is_transparent_where_the_file_says_so():
    """Each pass of a 2 x 2 image (Adam7) is a row: the first pixel, then the one right of it, then the second row."""
    first, right, below = (7, 7, 7), (0x0107, 7, 7), [(7, 7, 7), (7, 0x0107, 7)]
    passes = b"".join(b"\0" + struct.pack(f">{3 * len(row)}H", *(v for c in row for v in c)) for row in
                      ([first], [right], below))  # fmt: skip
    header = struct.pack(">IIBBBBB", 2, 2, 16, RGB, 0, 0, 1)
    image = (chunk(b"IHDR", header), transparent(7, 7, 7), chunk(b"IDAT", zlib.compress(passes)), chunk(b"IEND", b""))
    found = decode(b"\x89PNG\r\n\x1a\n" + b"".join(image))
    assert found.tolist() == [[[255] * 3, [1, 0, 0]], [[255] * 3, [0, 1, 0]]]
