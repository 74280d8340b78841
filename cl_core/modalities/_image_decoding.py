"""Decode images: hostile bytes to upright 8-bit pixels, and to one size and shape.

The bytes are untrusted. Only the formats below are tried, whatever the file is called. The number of pixels is read
from the header and capped before any are decoded. An image that ends early is rejected, not padded with gray.
"""

import io
import re
import warnings
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, features

from cl_core.modalities import Rejected
from cl_core.modalities._metadata import without_metadata
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
_GREATEST = 65_535

_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)

# What says more than that bytes are broken.
_DECISIVE = (Rejected, MemoryError, *_TOO_LARGE)


class StoredValues(NamedTuple):
    """The values of an image as its file stores them, before they become 8 bits."""

    bits: int  # 16 of grayscale that has them, else 8.
    low: int  # The least value.
    high: int  # The greatest value.


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
    pixels = np.asarray(decode_image(payload, value_range)[0])
    return pixels.reshape(*pixels.shape[:2], -1)


def decode_image(
    payload: bytes, value_range: tuple[float, float] | None = None
) -> tuple[Image.Image, str, StoredValues]:
    """Return one encoded image as an upright Pillow image of mode L or RGB, the name of its format, and its values.

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
    if not payload:
        raise Rejected("empty", "the file has no bytes")
    limit = MAX_TEXT_BYTES if _TEXT_PNM.match(payload) else MAX_PAYLOAD_BYTES
    if len(payload) > limit:
        raise Rejected("too_large", f"{len(payload):,} bytes; the limit is {limit:,}")
    with warnings.catch_warnings():
        # Pillow remarks on odd but readable files; only its remark on size decides anything here.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = _loaded(payload)
            if value_range is not None and _loses_lower_byte(image, payload):
                raise Rejected(
                    "unknown_range",
                    "16-bit color, of which only the upper byte is read, so that data.value_range does not apply; "
                    "store 16-bit grayscale or 8 bits",
                )
            pixels, stored = _eight_bit(_upright(image), value_range)
            return pixels, str(image.format), stored
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


def _eight_bit(image: Image.Image, value_range: tuple[float, float] | None) -> tuple[Image.Image, StoredValues]:
    """Convert any mode in which Pillow opens the formats to L or RGB."""
    if image.mode.startswith("I"):  # 16 bits; in mode I PNM files, which Pillow scales to them.
        values = np.asarray(image).astype(np.uint32)
        shown = values != image.info.get("transparency", -1)
        pixels = _levels(16, value_range)[values]
        pixels[~shown] = 255
        low, high = np.min(values, where=shown, initial=_GREATEST), np.max(values, where=shown, initial=0)
        return Image.fromarray(pixels), StoredValues(16, int(low), int(high))
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if not image.has_transparency_data:
        plain = image if image.mode == mode else image.convert(mode)
        return _stretched(plain, value_range), _stored_values(plain)
    layer = image.convert("RGBA")
    colors, opacity = layer.convert("RGB"), layer.getchannel("A")
    if value_range is not None:
        layer = _stretched(colors, value_range)
        layer.putalpha(opacity)
    page = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(page, layer).convert(mode), _stored_values(colors, opacity)


@lru_cache
def _levels(bits: int, value_range: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Return the level, 0 to 255, of each value that so many bits can store; read-only."""
    low, high = value_range or (0, (1 << bits) - 1)
    values = np.clip(np.arange(1 << bits, dtype=np.float64), low, high)
    levels = np.floor((values - low) / (high - low) * 255 + 0.5).astype(np.uint8)
    levels.flags.writeable = False
    return levels


def _stretched(image: Image.Image, value_range: tuple[float, float] | None) -> Image.Image:
    """Return an image of mode L or RGB with the values of a range as its levels."""
    return image if value_range is None else image.point(_levels(8, value_range).tolist() * len(image.getbands()))


def _stored_values(image: Image.Image, opacity: Image.Image | None = None) -> StoredValues:
    """Return the least and greatest values of an image of mode L or RGB, of the parts that are not transparent."""
    if opacity is None:
        extremes = np.array(image.getextrema()).reshape(-1, 2)
        return StoredValues(8, int(extremes[:, 0].min()), int(extremes[:, 1].max()))
    levels = np.flatnonzero(np.array(image.histogram(opacity)).reshape(-1, 256).any(axis=0))
    return StoredValues(8, int(levels[0]), int(levels[-1])) if len(levels) else StoredValues(8, 255, 0)


def _loses_lower_byte(image: Image.Image, payload: bytes) -> bool:
    """Return whether a file stores 16 bits of which Pillow keeps 8: color and grayscale with opacity, PNG and TIFF."""
    if image.mode.startswith("I"):
        return False
    if image.format == "PNG":
        return payload[_PNG_DEPTH] == 16
    return image.format == "TIFF" and max(getattr(image, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE, (8,))) > 8
