"""The faster decoder of JPEG gives the pixels of Pillow, or leaves the file to Pillow."""

import io
import struct
import sys
from functools import partial

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from cl_core.modalities import _image_decoding, _pixel_sums, _plain_jpeg
from cl_core.modalities._image_decoding import decode
from cl_core.modalities._pixel_sums import pixel_sums
from cl_core.modalities._plain_jpeg import frame_of, plain_jpeg
from cl_core.modalities.image import Images

MOST = 1 << 26


@pytest.fixture(scope="module", autouse=True)
def _installed():
    assert _plain_jpeg.fast_decoder() is not None, "simplejpeg of requirements.lock is not installed: make setup"


def picture(seed, shape=(40, 56, 3)):
    """Noise on a gradient: high frequencies, and smooth chroma whose upsampling shows."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, shape[1])[None, :, None] * rng.random(shape[2])
    pixels = np.clip(ramp + rng.normal(30, 25, shape), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if shape[2] == 1 else pixels)


def jpeg(image, **settings):
    file = io.BytesIO()
    image.save(file, "JPEG", **settings)
    return file.getvalue()


def with_segment(payload, marker, body):
    return payload[:2] + bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body + payload[2:]


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 9, 3), (16, 16, 3), (33, 31, 3), (40, 56, 1), (250, 301, 3)])
@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"quality": 30}, {"restart_marker_blocks": 2}])
def test_pixels_are_those_of_pillow(shape, settings):
    for subsampling in (0, 1, 2):
        payload = jpeg(picture(1, shape), subsampling=subsampling, **settings)
        pixels = plain_jpeg(payload, most=MOST)
        np.testing.assert_array_equal(pixels, decode(payload))
        assert pixels.shape == shape and pixels.flags.c_contiguous


@pytest.mark.parametrize("seed", range(3))
def test_of_damaged_files_none_gets_other_pixels_or_another_verdict(seed):
    """Bytes are changed, inserted and removed anywhere: what simplejpeg takes, Pillow takes with equal pixels."""
    rng, taken = np.random.default_rng(seed), 0
    sound = [jpeg(picture(n), subsampling=n % 3, progressive=n % 2 == 0, quality=60 + 10 * n) for n in range(4)]
    for number in range(250):
        payload = bytearray(sound[number % len(sound)])
        at = rng.integers(2, len(payload) - 2, rng.integers(1, 4))
        if number % 3 == 0:
            payload[at[0] : at[0]] = rng.bytes(at.size)
        elif number % 3 == 1:
            del payload[at[0] : at[0] + 9]
        else:
            payload[at[0]] = rng.integers(256)
        pixels = plain_jpeg(bytes(payload), most=MOST)
        if pixels is not None:
            taken += 1
            np.testing.assert_array_equal(pixels, decode(bytes(payload)))
    assert taken > 50


EXIF = Image.Exif()
EXIF[0x0112] = 6
PLAIN = jpeg(picture(0))
LEFT_TO_PILLOW = {
    "EXIF, which may turn it": jpeg(picture(0), exif=EXIF),
    "XMP, which may turn it": with_segment(PLAIN, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"x" * 20),
    "several pictures": with_segment(PLAIN, 0xE2, b"MPF\0" + bytes(80)),
    "CMYK": jpeg(picture(0).convert("CMYK")),
    "a short JFIF segment, which Pillow refuses": with_segment(PLAIN, 0xE0, b"JFIF\0"),
    "a short Adobe segment": with_segment(PLAIN, 0xEE, b"Adobe\0"),
    "a segment of an unknown program": with_segment(PLAIN, 0xEF, b"whatever"),
    "bytes after its end": PLAIN + b"\0",
    "cut off": PLAIN[:-300],
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "two frames": with_segment(PLAIN, 0xC0, PLAIN[PLAIN.index(b"\xff\xc0") + 4 :][:15]),
    "nothing": b"",
}


@pytest.mark.parametrize("payload", LEFT_TO_PILLOW.values(), ids=LEFT_TO_PILLOW)
def test_what_is_not_plain_is_left_to_pillow(payload):
    assert plain_jpeg(payload, most=MOST) is None


def test_a_header_tells_the_shape_before_anything_is_decoded():
    assert frame_of(jpeg(picture(0, (40, 56, 3)))) == (40, 56, 3)
    assert frame_of(jpeg(picture(0, (40, 56, 1)), icc_profile=bytes(500), comment="x")) == (40, 56, 1)
    frame = PLAIN.index(b"\xff\xc0")
    bomb = PLAIN[: frame + 5] + struct.pack(">HH", 65_500, 65_500) + PLAIN[frame + 9 :]
    assert frame_of(bomb) == (65_500, 65_500, 3)
    assert plain_jpeg(bomb, most=MOST) is None
    for length in range(0, len(PLAIN), 7):
        assert frame_of(PLAIN[:length] + b"\xff\xd9") in (None, (40, 56, 3))


@pytest.fixture
def _decided_anew():
    """Lets a test decide which decoder is taken, and forgets it afterwards."""
    _plain_jpeg.fast_decoder.cache_clear()
    yield
    _plain_jpeg.fast_decoder.cache_clear()


@pytest.mark.usefixtures("_decided_anew")
def test_pillow_decodes_where_simplejpeg_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert plain_jpeg(PLAIN, most=MOST) is None


@pytest.mark.usefixtures("_decided_anew")
@pytest.mark.parametrize("option", ["fastdct", "fastupsample"])
def test_pillow_decodes_where_the_pixels_of_simplejpeg_are_others(monkeypatch, option):
    other = partial(simplejpeg.decode_jpeg, **{option: True})
    monkeypatch.setattr(simplejpeg, "decode_jpeg", other)
    assert plain_jpeg(PLAIN, most=MOST) is None


def test_with_it_all_that_is_known_of_an_image_and_all_that_is_cached_is_the_same(monkeypatch):
    payloads = [jpeg(picture(seed, shape)) for seed, shape in enumerate([(24, 24, 3), (40, 56, 3), (24, 24, 1)])]
    modality = Images(size=24)
    arrays = modality.known_arrays()

    def everything():
        return [
            (modality.inspect(payload, fingerprint=True), modality.decode(payload, arrays)[0].tobytes())
            for payload in payloads
        ]

    with_it = everything()
    assert all(plain_jpeg(payload, most=MOST) is not None for payload in payloads)
    monkeypatch.setattr(_image_decoding, "plain_jpeg", lambda payload, most: None)
    assert everything() == with_it


@pytest.fixture(scope="module")
def loop():
    """The compiled loop."""
    return _pixel_sums.compiled_loop()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 1), (300, 20, 3)])
def test_sums_are_those_of_python_integers(shape, compiled, loop, monkeypatch):
    assert loop is not _pixel_sums.by_numpy
    monkeypatch.setattr(_pixel_sums, "_columns", loop if compiled else _pixel_sums.by_numpy)
    pixels = np.random.default_rng(0).integers(3, 256, shape, dtype=np.uint8)
    pixels[0, 0] = 3
    levels = [[int(value) for value in pixels[..., channel].ravel()] for channel in range(shape[2])]
    found = pixel_sums(pixels)
    assert found.sums == [sum(values) for values in levels]
    assert found.squares == [sum(value * value for value in values) for values in levels]
    assert (found.low, found.high) == (3, max(map(max, levels)))


@pytest.mark.parametrize("compiled", [False, True])
def test_sums_of_the_tallest_image_do_not_overflow(compiled, loop, monkeypatch):
    monkeypatch.setattr(_pixel_sums, "_columns", loop if compiled else _pixel_sums.by_numpy)
    found = pixel_sums(np.full((65_535, 1, 1), 255, np.uint8))
    assert (found.sums, found.squares) == ([65_535 * 255], [65_535 * 255**2])


def test_the_loop_is_compiled_once_when_it_saves_time_and_without_numba_never(monkeypatch):
    compiled = []
    monkeypatch.setattr(_pixel_sums, "compiled_loop", lambda: compiled.append(1) or _pixel_sums.one_pass)
    columns, rows = _pixel_sums.ColumnSums(worth_values=250), np.arange(100, dtype=np.uint8).reshape(10, 10)
    expected = [part.tolist() for part in _pixel_sums.one_pass(rows)]
    counted = []
    for _ in range(5):
        assert [part.tolist() for part in columns(rows)[:2]] == expected[:2]
        counted.append(len(compiled))
    assert counted == [0, 0, 1, 1, 1]
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "numba", None)
    assert _pixel_sums.compiled_loop() is _pixel_sums.by_numpy
