"""The transparent color of PNG files (Sec. 11.3.2.1, tRNS), where Pillow compares it with other values than the file's.

It scales gray of 2 and 4 bits to 8 but not the transparent value, and of colors of 16 bits it compares upper bytes of
the pixels with lower bytes of the transparent color.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

_DEPTH, _COLOR_TYPE = 24, 25  # Where the header has them.
_GRAY, _RGB = 0, 2


def correct_transparency(image: Image.Image, payload: bytes) -> None:
    """Make a loaded PNG image transparent where its file says so."""
    color = image.info.get("transparency")
    depth, kind = payload[_DEPTH], payload[_COLOR_TYPE]
    if kind == _GRAY and depth in (2, 4, 8) and color is not None:
        greatest = (1 << depth) - 1
        image.info["transparency"] = (color & greatest) * 255 // greatest  # Of a value too large the lower bits count.
    elif kind == _RGB and depth == 16 and color is not None:
        del image.info["transparency"]
        transparent = _equals(image, [value >> 8 for value in color])
        if transparent.any():
            transparent &= _equals(_lower_bytes(payload), [value & 255 for value in color])
        if transparent.any():
            image.putalpha(Image.fromarray(np.where(transparent, np.uint8(0), np.uint8(255))))


def _equals(image: Image.Image, color: list[int]) -> NDArray[np.bool_]:
    """Return which pixels have a color, (H, W)."""
    equal = np.ones(image.size[::-1], np.bool_)
    for band, value in enumerate(color):  # One at a time, for large images.
        equal &= np.asarray(image.getchannel(band)) == value
    return equal


def _lower_bytes(payload: bytes) -> ImageFile.ImageFile:
    """Return the lower bytes of the colors of a 16-bit PNG: what would be the upper ones in the other byte order."""
    image = Image.open(io.BytesIO(payload), formats=["PNG"])
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
    image.load()
    return image
