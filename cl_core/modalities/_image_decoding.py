"""Decode images: hostile bytes to upright 8-bit pixels, and to one size and shape.

The bytes are untrusted. Only the formats below are tried, whatever the file is called. The number of pixels is read
from the header and capped before any are decoded. An image that ends early is rejected, not padded with gray.
"""

import io
import re
from collections.abc import Callable
from itertools import chain
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, features

from cl_core.modalities import Rejected
from cl_core.modalities._eight_bits import EightBits, StoredValues, eight_bits
from cl_core.modalities._metadata import without_metadata
from cl_core.modalities._pillow_warnings import PILLOW_WARNINGS
from cl_core.modalities._plain_jpeg import plain_jpeg
from cl_core.modalities._png import decode_png
from cl_core.modalities._png_transparency import correct_transparency
from cl_core.modalities._tiff_metadata import is_tiff

# AVIF, where Pillow was built with it. PPM is all of PNM: PBM, PGM and PPM.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", *(("AVIF",) if features.check("avif") else ()))
MAX_PIXELS = 1 << 26  # 8192 x 8192: 192 MiB as RGB. Larger ones are scans to be cut up, or attacks.
MAX_PAYLOAD_BYTES = 1 << 26  # A row group holds at least one image, and Parquet offsets want groups of this at most.
MAX_TEXT_BYTES = 1 << 20  # Of PNM files that are text, which Pillow reads at less than 1 MB/s.

_TEXT_PNM = re.compile(rb"P[123]\s")
# What files of these formats begin with; the box of an AVIF file has its length first.
_SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF|GIF8|BM|II[*+]\0|MM\0[*+]|P[1-6]\s|.{4}ftypavi[fs]", re.DOTALL
)
_PNG_DEPTH = 24  # Where the header has the bits of a value.
_TIFF_BITS_PER_SAMPLE = 258

_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)

# What says more than that bytes are broken.
_DECISIVE = (Rejected, MemoryError, *_TOO_LARGE)

T = TypeVar("T")


class DecodedImage(NamedTuple):
    """An image, and what is known of its file."""

    image: Image.Image  # Upright, of mode L or RGB.
    format: str  # Its name, such as PNG.
    values: StoredValues
    histogram: NDArray[np.int64]  # (C, 256) pixels of each level.


class PlainImage(NamedTuple):
    """An image that was decoded without Pillow."""

    format: str
    pixels: NDArray[np.uint8]  # (H, W, C), contiguous.


def decode(payload: bytes, value_range: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """Return the pixels of one encoded image, upright.

    Args:
        payload: File of one of `FORMATS`; of several frames or pages the first is taken.
        value_range: As of `decode_image`.

    Returns:
        (H, W, C) uint8 in 0..255, read-only; C is 1 for grayscale formats, else 3 (RGB). `decode_image` says how
        palettes, transparency, CMYK and 16 bits become that.

    Raises:
        Rejected: When the bytes are not such an image, end early, or hold too many pixels.
    """
    pixels = np.asarray(upright_image(payload, value_range))
    return pixels.reshape(*pixels.shape[:2], -1)


def plain_image(payload: bytes, value_range: tuple[float, float] | None = None) -> PlainImage | None:
    """Return what `decode` does of files that are decoded without Pillow, which takes longer; None of all else."""
    if value_range is not None or len(payload) > MAX_PAYLOAD_BYTES:
        return None
    if (pixels := decode_png(payload)) is not None:
        return PlainImage("PNG", pixels)
    pixels = plain_jpeg(payload, most=MAX_PIXELS)
    return None if pixels is None else PlainImage("JPEG", pixels)


def image_of(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return (H, W, C) pixels as an image of mode L or RGB."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def upright_image(payload: bytes, value_range: tuple[float, float] | None = None) -> Image.Image:
    """Return the image alone; see `decode_image`."""
    return _decoded_as(lambda shown, _: shown.image, payload, value_range)


def decode_image(payload: bytes, value_range: tuple[float, float] | None = None) -> DecodedImage:
    """Return one encoded image as an upright Pillow image of mode L or RGB, with what is known of its file.

    - EXIF orientation is applied.
    - Transparent parts are laid on white, as browsers and viewers show them.
    - Grayscale stays grayscale (L); palettes become RGB, whatever their colors.
    - CMYK becomes RGB without a color profile.
    - 16-bit grayscale is rounded to 8 bits over the full range (65535 becomes 255). Of 16-bit color Pillow keeps the
      upper byte, at most one level off. Floats, signed and 32-bit integers are rejected: their range is not known.
    - With a `value_range`, its lower value becomes 0 and its upper one 255, values between are rounded, and values
      outside are clipped: of 16-bit grayscale on the scale 0 to 65535, of all else 0 to 255. PNM files are stretched
      by the maximum in their header first. Other 16-bit images are rejected, as their lower byte is lost.

    Raises:
        Rejected: As `decode`.
    """
    return _decoded_as(
        lambda shown, name: DecodedImage(shown.image, name, shown.stored(), shown.histogram()), payload, value_range
    )


def _decoded_as(result: Callable[[EightBits, str], T], payload: bytes, value_range: tuple[float, float] | None) -> T:
    if not payload:
        raise Rejected("empty", "the file has no bytes")
    limit = MAX_TEXT_BYTES if _TEXT_PNM.match(payload) else MAX_PAYLOAD_BYTES
    if len(payload) > limit:
        raise Rejected("too_large", f"{len(payload):,} bytes; the limit is {limit:,}")
    with PILLOW_WARNINGS:
        try:
            image = _loaded(payload)
            if value_range is not None and _loses_lower_byte(image, payload):
                raise Rejected(
                    "unknown_range",
                    "16-bit color, of which only the upper byte is read, so that data.value_range does not apply; "
                    "store 16-bit grayscale or 8 bits",
                )
            return result(eight_bits(_upright(image), value_range), str(image.format))
        except (Rejected, MemoryError):
            raise
        except _TOO_LARGE as error:
            raise Rejected("too_large", str(error)) from error
        except UnidentifiedImageError as error:
            if _SIGNATURES.match(payload):
                raise Rejected("damaged", "starts like an image, but its header is broken") from error
            raise Rejected("not_an_image", f"starts with {payload[:8]!r}: not {', '.join(FORMATS)}") from error
        except Exception as error:
            # Broken bytes surface as whatever the decoder trips over: OSError, SyntaxError, struct.error, ...
            raise Rejected("damaged", f"{type(error).__name__}: {error}") from error


def _loaded(payload: bytes) -> Image.Image:
    """Return the decoded image; metadata that the decoder cannot read do not count."""
    plain = (without_metadata(payload, keep_exif=keep) for keep in (True, False))
    first: Exception | None = None
    for candidate in chain(plain, [payload]) if is_tiff(payload) else chain([payload], plain):
        try:
            return _decoded(candidate)
        except _DECISIVE:
            raise
        except Exception as error:
            first = first or error  # As damaged without metadata: the first failure says how.
    assert first is not None
    raise first


def _decoded(payload: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(payload), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise Rejected("too_large", f"{image.width} x {image.height} pixels; the limit is {MAX_PIXELS:,} in total")
    image.load()
    if image.format == "PNG":
        correct_transparency(image, payload)
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        kind = "floats" if image.mode == "F" else "signed or 32-bit integers"
        raise Rejected(
            "unknown_range", f"its values are {kind}, whose black and white are not known; store 8 or 16 bits"
        )
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation, where there is one that can be read."""
    if not image.info:  # Orientation can only come from metadata; asking for it costs as much as decoding a small one.
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def to_shape(image: Image.Image, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return the largest centered square of an image, resampled (antialiased bicubic) unless it has the size already.

    Training and serving both use it.

    Args:
        image: Upright, of mode L or RGB, as `decode_image` gives it.
        shape: (H, W, C) with H = W; C is 1 or 3.

    Returns:
        `shape` uint8. With C = 3 a grayscale image gets three equal channels; with C = 1 a color image becomes its
        luma (ITU-R BT.601).
    """
    size = shape[:2]
    if image.size != size:
        # Equal to resizing the shorter side and cropping, without the rest.
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        image = image.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    pixels = np.asarray(image.convert("L") if shape[2] == 1 else image)
    return np.broadcast_to(pixels if pixels.ndim == 3 else pixels[:, :, None], shape)


def _loses_lower_byte(image: Image.Image, payload: bytes) -> bool:
    """Return whether a file stores 16 bits of which Pillow keeps 8: color and grayscale with opacity, PNG and TIFF."""
    if image.mode.startswith("I"):
        return False
    if image.format == "PNG":
        return payload[_PNG_DEPTH] == 16
    return image.format == "TIFF" and max(getattr(image, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE, (8,))) > 8
