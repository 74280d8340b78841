"""Decoding: encoded image bytes become 8-bit pixels, or are rejected with a reason.

Bytes come from strangers. Only four formats are tried, whatever the file is called; the number of pixels is read from
the header and capped before any are decoded; and a picture that ends early is rejected, not padded with grey.
"""

import io
import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"GIF8")
MAX_PIXELS = 1 << 26  # 8192 x 8192: 192 MiB as RGB. Larger ones are scans to be cut up, or attacks.
MAX_PAYLOAD_BYTES = 1 << 26  # A row group holds at least one image, and Parquet offsets want groups of this at most.

Reason = Literal["empty", "too_large", "not_an_image", "damaged", "unreadable", "conflicting_labels"]


class Rejected(Exception):  # noqa: N818 - a verdict on one input, caught by whoever asked, not an error of the run
    """An input that is no usable image. `reason` is a code to count by, `detail` a sentence for people."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def decode(payload: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The pixels of one encoded image, upright.

    Args:
        payload: JPEG, PNG, WebP or GIF file; of several frames the first is taken.
        max_pixels: Width times height above which the image is rejected undecoded.

    Returns:
        (H, W, C) uint8 in 0..255, read-only; C is 1 for greyscale formats, else 3 (RGB). `decode_image` says how
        palettes, transparency, CMYK and 16 bits become that.

    Raises:
        Rejected: When the bytes are no such image, end early, or hold too many pixels.
    """
    pixels = np.asarray(decode_image(payload, max_pixels=max_pixels)[0])
    return pixels.reshape(*pixels.shape[:2], -1)


def decode_image(payload: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, str]:
    """One encoded image as an upright Pillow image of mode L or RGB, and the name of its format.

    - EXIF orientation is applied.
    - Transparent parts are laid on white, as browsers and viewers show them.
    - Greyscale stays greyscale (L); palettes become RGB, whatever their colours.
    - CMYK becomes RGB without a colour profile.
    - 16-bit greyscale is rounded to 8 bits over the full range (65535 becomes 255). Of 16-bit colour Pillow keeps the
      upper byte, at most one level off.

    Raises:
        Rejected: As `decode`.
    """
    if not payload:
        raise Rejected("empty", "the file has no bytes")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Rejected("too_large", f"{len(payload):,} bytes; at most {MAX_PAYLOAD_BYTES:,} are read")
    with warnings.catch_warnings():
        # Pillow remarks on odd but readable files; only its remark on size decides anything here.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(payload), formats=FORMATS)
            if image.width * image.height > max_pixels:
                raise Rejected(
                    "too_large", f"{image.width} x {image.height} pixels; at most {max_pixels:,} in all are decoded"
                )
            image.load()
            # Orientation can only come from metadata; asking for it costs as much as decoding a small image.
            upright = ImageOps.exif_transpose(image) if image.info else image
            return _eight_bit(upright), str(image.format)
        except (Rejected, MemoryError):
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise Rejected("too_large", str(error)) from error
        except UnidentifiedImageError as error:
            if payload.startswith(_SIGNATURES):
                raise Rejected("damaged", "its first bytes are an image's, but the header after them is not") from error
            raise Rejected("not_an_image", f"starts with {payload[:8]!r}: not {', '.join(FORMATS)}") from error
        except Exception as error:
            # Broken bytes surface as whatever the decoder trips over: OSError, SyntaxError, struct.error, ...
            raise Rejected("damaged", f"{type(error).__name__}: {error}") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """Any mode in which Pillow opens the four formats, as L or RGB."""
    if image.mode in ("L", "RGB") and not image.has_transparency_data:
        return image
    if image.mode.startswith("I"):
        return Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    grey = image.mode in ("1", "L", "LA", "La")
    if not image.has_transparency_data:
        return image.convert("L" if grey else "RGB")
    layer = image.convert("RGBA")
    page = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(page, layer).convert("L" if grey else "RGB")
