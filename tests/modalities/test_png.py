"""PNG files that sources make are decoded without Pillow, to the same pixels; all other files are left to it."""

import io

import numpy as np
import pytest
from PIL import Image

from cl_core.modalities import _image_decoding
from cl_core.modalities._png import decode_png, encode_png
from cl_core.modalities.image import Images

# The last ones need two blocks of a deflate stream, one of them exactly two.
SHAPES = [(1, 1, 1), (1, 1, 3), (28, 28, 1), (5, 7, 3), (200, 200, 3), (1310, 99, 1), (1311, 99, 1)]


def pixels_of(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def saved(image: Image.Image, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **settings)
    return file.getvalue()


@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_encoded_is_decoded_and_pillow_agrees(shape):
    payload = encode_png(pixels_of(shape))
    pixels = decode_png(payload)
    np.testing.assert_array_equal(pixels, pixels_of(shape))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(payload))).reshape(shape), pixels)
    assert pixels.shape == shape and pixels.flags.c_contiguous


@pytest.mark.parametrize("shape", [(3, 4, 1), (2, 2, 3)])
def test_a_file_with_any_other_byte_is_left_to_pillow(shape):
    """Damage, a filter, another width: whatever a byte means, Pillow decides."""
    payload = encode_png(pixels_of(shape))
    for at in range(len(payload)):
        for change in (1, 0x80, 0xFF):
            assert decode_png(payload[:at] + bytes([payload[at] ^ change]) + payload[at + 1 :]) is None, at
    for length in range(len(payload)):
        assert decode_png(payload[:length]) is None, length
    assert decode_png(payload + b"\0") is None


GRAY = Image.fromarray(pixels_of((9, 9, 1))[..., 0])


@pytest.mark.parametrize(
    "payload",
    [
        saved(GRAY),
        saved(GRAY, compress_level=0),
        saved(GRAY.convert("P")),
        saved(GRAY.convert("RGBA")),
        saved(GRAY.convert("I;16")),
        saved(GRAY, pnginfo=None, dpi=(72, 72)),
        b"\xff\xd8\xff",
        b"",
    ],
    ids=["compressed", "stored by Pillow", "palette", "transparent", "16 bits", "metadata", "JPEG", "nothing"],
)
def test_files_of_others_are_left_to_pillow(payload):
    assert decode_png(payload) is None


def test_with_it_all_that_is_known_of_an_image_and_all_that_is_cached_is_the_same(monkeypatch):
    payloads = [encode_png(pixels_of(shape)) for shape in SHAPES]
    modality = Images(size=28)

    def everything():
        return [
            (
                modality.inspect(payload, fingerprint=True),
                modality.decode(payload, modality.array_specs({"channels": channels}))[0].tobytes(),
            )
            for payload in payloads
            for channels in (1, 3)
        ]

    with_it = everything()
    monkeypatch.setattr(_image_decoding, "decode_png", lambda payload: None)
    assert everything() == with_it
