import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features

from cl_core.modalities import Rejected, _image_decoding
from cl_core.modalities._image_decoding import StoredValues, decode, decode_image

COLORS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def png(width: int, height: int, depth: int, color: int, raw: bytes) -> bytes:
    """A PNG straight from the standard, for what Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def test_color_png_keeps_every_pixel():
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(COLORS), "PNG")), COLORS)


def test_grayscale_has_one_channel():
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(COLORS[..., 0]), "PNG")), COLORS[..., :1])


def test_lossless_webp_keeps_every_pixel():
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(COLORS), "WEBP", lossless=True)), COLORS)


def test_flat_jpeg_keeps_its_color_within_two_levels():
    pixels = decode(encoded(Image.new("RGB", (16, 8), (200, 100, 50)), "JPEG", quality=95))
    assert pixels.shape == (8, 16, 3)
    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() <= 2


def test_cmyk_jpeg_becomes_rgb():
    # No cyan, all magenta, no yellow, no black: magenta.
    pixels = decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 0, 0)), "JPEG", quality=95))
    assert np.abs(pixels.astype(int) - (255, 0, 255)).max() <= 3


def test_of_a_gif_the_first_frame_is_taken():
    red, blue = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    pixels = decode(encoded(red, "GIF", save_all=True, append_images=[blue]))
    assert pixels.tolist() == [[[255, 0, 0]] * 4] * 4


def test_palette_becomes_its_colors():
    image = Image.new("P", (2, 2))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2, 1])
    expected = [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [40, 50, 60]]]
    assert decode(encoded(image, "PNG")).tolist() == expected


def test_transparent_parts_are_laid_on_white():
    image = Image.new("RGBA", (3, 1))
    image.putdata([(10, 20, 30, 255), (10, 20, 30, 0), (0, 0, 0, 51)])  # 51 / 255 is a fifth of black.
    assert decode(encoded(image, "PNG")).tolist() == [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]


def test_transparent_grayscale_stays_grayscale():
    image = Image.new("LA", (2, 1))
    image.putdata([(100, 255), (100, 0)])
    assert decode(encoded(image, "PNG")).tolist() == [[[100], [255]]]


def test_a_transparent_palette_entry_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    assert decode(encoded(image, "PNG", transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_sixteen_bit_gray_is_rounded_over_the_full_range():
    levels = [0, 128, 129, 257, 32768, 65279, 65535]  # 128 / 257 rounds down to 0, 129 / 257 up to 1.
    raw = b"\0" + struct.pack(">7H", *levels)
    assert decode(png(7, 1, 16, 0, raw))[0, :, 0].tolist() == [round(level / 257) for level in levels]


def test_sixteen_bit_color_is_at_most_one_level_off():
    levels = [0, 255, 256, 40_000, 65_535, 12_345]
    pixels = decode(png(2, 1, 16, 2, b"\0" + struct.pack(">6H", *levels)))
    assert np.abs(pixels.reshape(-1).astype(int) - np.array(levels) / 257).max() <= 1
    assert pixels.reshape(-1)[[0, 4]].tolist() == [0, 255]


def test_one_bit_is_black_and_white():
    assert decode(encoded(Image.fromarray(np.eye(2, dtype=bool)), "PNG")).tolist() == [[[255], [0]], [[0], [255]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honored(orientation):
    # Where the standard (EXIF 2.32, 4.6.4 A) says the stored top row and left column belong, written with numpy alone.
    upright = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }[orientation](COLORS)
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(COLORS), "PNG", exif=exif)), upright)


def test_exif_orientation_of_a_jpeg_turns_it():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(Image.new("RGB", (8, 4)), "JPEG", exif=exif)).shape == (8, 4, 3)


def noisy_jpeg() -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return encoded(Image.fromarray(noise), "JPEG")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"hello, this is a text file named .png", "not_an_image"),
        (encoded(Image.new("RGB", (4, 4)), "TGA"), "not_an_image"),
        (encoded(Image.new("RGB", (4, 4)), "ICO"), "not_an_image"),
        (noisy_jpeg()[:-200], "damaged"),
        (encoded(Image.fromarray(COLORS), "PNG")[:-40], "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (noisy_jpeg()[:20], "damaged"),
        # These hold one byte of all their pixels: judged after decoding instead of before, they would be damaged.
        (png(8193, 8192, 8, 0, b"\0"), "too_large"),
        (png(60_000, 60_000, 8, 0, b"\0"), "too_large"),  # Beyond Pillow's own limit, which would raise.
        (png(10_000, 10_000, 8, 0, b"\0"), "too_large"),  # Where Pillow would only warn.
    ],
    ids=["empty", "text", "tga", "ico", "short jpeg", "short png", "png magic", "jpeg head", "big", "bomb", "warned"],
)
def test_an_unusable_image_is_rejected_with_a_reason(payload, reason):
    with pytest.raises(Rejected) as rejected:
        decode(payload)
    assert rejected.value.reason == reason
    assert rejected.value.detail


def test_the_cap_on_pixels_is_inclusive(monkeypatch):
    payload = encoded(Image.new("L", (4, 4)), "PNG")
    monkeypatch.setattr(_image_decoding, "MAX_PIXELS", 16)
    assert decode(payload).shape == (4, 4, 1)
    monkeypatch.setattr(_image_decoding, "MAX_PIXELS", 15)
    with pytest.raises(Rejected, match="4 x 4 pixels"):
        decode(payload)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM"])
def test_other_lossless_formats_keep_every_pixel(kind):
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(COLORS), kind)), COLORS)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(COLORS[..., 0]), kind)), COLORS[..., :1])


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_flat_avif_keeps_its_color_within_two_levels():
    pixels = decode(encoded(Image.new("RGB", (16, 8), (200, 100, 50)), "AVIF", quality=90))
    assert pixels.shape == (8, 16, 3)
    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() <= 2


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_of_a_tiff_the_first_page_is_taken_whatever_its_compression(compression):
    pages = [Image.fromarray(COLORS[::-1])]
    payload = encoded(Image.fromarray(COLORS), "TIFF", compression=compression, save_all=True, append_images=pages)
    np.testing.assert_array_equal(decode(payload), COLORS)


def test_the_orientation_of_a_tiff_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 3  # Upside down.
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(COLORS), "TIFF", exif=exif)), COLORS[::-1, ::-1])


def test_black_and_white_and_text_bitmaps_are_grayscale():
    assert decode(b"P1\n# a comment\n2 2\n1 0\n0 1\n").tolist() == [[[0], [255]], [[255], [0]]]
    assert decode(b"P2\n2 1\n255\n7 200\n").tolist() == [[[7], [200]]]


def test_sixteen_bits_are_rounded_over_their_range_in_every_format():
    values = np.array([[0, 128, 129, 257, 65535]], np.uint16)
    for kind in ("PNG", "TIFF", "PPM"):
        assert decode(encoded(Image.fromarray(values), kind)).ravel().tolist() == [0, 0, 1, 1, 255], kind
    # Twelve bits of a sensor, as the format says.
    assert decode(b"P5\n3 1\n4095\n" + struct.pack(">3H", 0, 2048, 4095)).ravel().tolist() == [0, 128, 255]


def test_transparent_sixteen_bit_grayscale_is_laid_on_white():
    values = np.array([[0, 160, 65535]], np.uint16)
    assert decode(encoded(Image.fromarray(values), "PNG", transparency=0)).ravel().tolist() == [255, 1, 255]


@pytest.mark.parametrize("kind", ["float32", "int32", "uint32", "int16"])
def test_values_whose_range_is_not_known_are_rejected(kind):
    """A thermal picture in kelvin, say: which value is black is for people to say."""
    values = np.array([[-5, 300], [70_000, 2]]).astype(kind)
    with pytest.raises(Rejected, match="whose black and white are not known; store 8 or 16 bits") as rejected:
        decode(tiff(values))
    assert rejected.value.reason == "unknown_range"


def tiff(values):
    """A TIFF straight from the standard (TIFF 6.0, Sec. 2), for types that Pillow does not write."""
    height, width = values.shape
    sample_format = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    at = 8 + 2 + 10 * 12 + 4
    fields = {
        256: width, 257: height, 258: 8 * values.itemsize, 259: 1, 262: 1, 273: at, 277: 1, 278: height,
        279: values.nbytes, 339: sample_format,
    }  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(fields.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4) + values.astype(values.dtype).tobytes()


def stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """What a range of values makes of them, in float64."""
    share = (np.clip(values.astype(np.float64), low, high) - low) / (high - low)
    return np.floor(255 * share + 0.5).astype(np.uint8)


@pytest.mark.parametrize(("low", "high"), [(0, 4095), (500.5, 3000.25), (40, 41), (0, 65535)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_range_of_sixteen_bit_values_becomes_black_to_white_and_the_rest_is_clipped(kind, low, high):
    values = np.random.default_rng(1).integers(0, 5000, (20, 30), dtype=np.uint16)
    values[0, :3] = 0, 40, 65535
    payload = encoded(Image.fromarray(values), kind)
    np.testing.assert_array_equal(decode(payload, (low, high))[..., 0], stretched(values, low, high))
    assert decode_image(payload, (low, high))[2] == StoredValues(16, int(values.min()), 65535)


def test_the_full_range_is_what_is_read_without_one():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    payload = encoded(Image.fromarray(values), "PNG")
    np.testing.assert_array_equal(decode(payload)[..., 0], np.round(values / 257))
    np.testing.assert_array_equal(decode(payload, (0, 65535)), decode(payload))


def test_a_range_of_eight_bit_values_stretches_every_color():
    payload = encoded(Image.fromarray(COLORS), "PNG")
    np.testing.assert_array_equal(decode(payload, (30, 90)), stretched(COLORS, 30, 90))
    assert decode_image(payload)[2] == StoredValues(8, int(COLORS.min()), int(COLORS.max()))


def test_with_a_range_transparent_parts_are_still_white_and_their_values_do_not_count():
    opacity = np.full(COLORS.shape[:2], 255, np.uint8)
    opacity[0], opacity[1] = 0, 128
    payload = encoded(Image.fromarray(np.dstack([COLORS, opacity])), "PNG")
    expected = stretched(COLORS, 0, 100).astype(np.float64)
    expected[0], expected[1] = 255, 255 - 128 / 255 * (255 - expected[1])
    np.testing.assert_allclose(decode(payload, (0, 100)), expected, atol=1)
    shown = COLORS[1:]
    assert decode_image(payload)[2] == StoredValues(8, int(shown.min()), int(shown.max()))
    values = np.array([[7, 160, 300]], np.uint16)
    gray = encoded(Image.fromarray(values), "PNG", transparency=7)
    assert decode(gray, (0, 320)).ravel().tolist() == [255, 128, 239]
    assert decode_image(gray)[2] == StoredValues(16, 160, 300)


def test_sixteen_bit_color_is_rejected_with_a_range_as_its_lower_byte_is_lost():
    color = png(2, 1, 16, 2, b"\0" + struct.pack(">6H", *range(6)))
    gray_with_opacity = png(2, 1, 16, 4, b"\0" + struct.pack(">4H", 9, 65535, 300, 65535))
    for payload in (color, gray_with_opacity):
        assert decode(payload).shape[:2] == (1, 2)
        with pytest.raises(Rejected, match="16-bit color, of which only the upper byte is read") as rejected:
            decode(payload, (0, 4095))
        assert rejected.value.reason == "unknown_range"
    assert decode(encoded(Image.fromarray(COLORS), "TIFF"), (0, 255)).shape == COLORS.shape
