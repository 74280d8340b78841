"""Images, from encoded files to normalized channels."""

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import PIL.Image
from markupsafe import Markup
from numpy.typing import NDArray
from pydantic import Field

from cl_core.hashing import canonical_json
from cl_core.modalities import ArraySpec, ColumnKind, Modality, PayloadInfo, Preview, Specs
from cl_core.modalities._eight_bits import StoredValues
from cl_core.modalities._image_decoding import (
    FORMATS,
    decode,
    decode_image,
    image_of,
    plain_image,
    to_shape,
    upright_image,
)
from cl_core.modalities._image_profile import MEASURES, ImageProfiler
from cl_core.modalities._perceptual_hash import perceptual_hashes
from cl_core.modalities._pixel_sums import pixel_sums
from cl_core.registry import MODALITIES, Component
from cl_core.specs import ValueRange

if TYPE_CHECKING:
    from torch import Tensor

    from cl_core.columns import Rows, Split
    from cl_core.modalities._image_processor import ImageProcessor
    from cl_core.modalities._processor import Processor

_PIXELS_UP_TO = 63
"""Side of images that are shown with their pixels when they are enlarged."""

KINDS = {1: "grayscale", 3: "color"}
"""Images by their number of channels."""

_SHOWN_SIZES = 8
_LEVELS = np.arange(256, dtype=np.int64)
_POWERS = np.stack([_LEVELS, _LEVELS**2], axis=1)


class ImageOptions(Component):
    """What an image becomes."""

    size: int = Field(28, ge=1)
    """Side of the square image that the encoder sees. A champion may take others than the spec of data allows.
    Pixels."""
    value_range: ValueRange | None = None
    """Values in the files that become black and white; null takes the full range."""


@MODALITIES.register("image")
class Images(ImageOptions, Modality):
    """Square images of one size, grayscale or color."""

    columns: ClassVar[tuple[ColumnKind, ...]] = (ColumnKind("image", "uint8", "(N, H, W, C)"),)
    unit: ClassVar[str] = "image"
    query: ClassVar[str] = f"a {', '.join(FORMATS)} file"
    baseline: ClassVar[str] = "raw_pixels"
    evaluation_views: ClassVar[str] = "simclr"
    has_fingerprints: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ("pillow",)
    hidden_options: ClassVar[tuple[str, ...]] = ("value_range",)

    def inspect(self, payload: bytes, *, fingerprint: bool) -> PayloadInfo:
        """Decode an image once for its id, its size, its values and its channel moments; see `Modality`."""
        plain = plain_image(payload, self.value_range)
        if plain is None:
            image, name, stored, counts = decode_image(payload, self.value_range)
            (width, height), channels = image.size, len(counts)
            sums, squares = (counts @ _POWERS).T.tolist()
        else:
            name, (height, width, channels) = plain.format, plain.pixels.shape
            low, high, sums, squares = pixel_sums(plain.pixels)
            stored = StoredValues(8, low, high)
        if channels == 1:
            sums, squares = sums * 3, squares * 3
        measures = MEASURES.pack(width, height, channels, *stored, *sums, *squares)
        look = None
        if fingerprint:
            look = self._fingerprint(image if plain is None else image_of(plain.pixels), channels)
        return PayloadInfo(hashlib.sha256(payload).digest(), name, measures, look)

    def profiler(self) -> "ImageProfiler":
        """Return a profiler of sizes, channels and values; see `Modality`."""
        return ImageProfiler(self.value_range)

    @property
    def variant(self) -> str:
        """The range of values."""
        return "".join(f"-{value:.17g}" for value in self.value_range or ())

    @property
    def digest_part(self) -> bytes:
        """The range of values, as it was written before there were other modalities."""
        return f"values {canonical_json(self.value_range)}\n".encode() if self.value_range else b""

    def array_specs(self, content: Mapping[str, Any]) -> Specs:
        """Return (size, size, channels) uint8."""
        return (ArraySpec("uint8", (self.size, self.size, content["channels"])),)

    def known_arrays(self) -> Specs:
        """Return the array of a color image; no component depends on the number of channels."""
        return self.array_specs({"channels": 3})

    def describe(self, arrays: Specs) -> str:
        """Return kind, size and range of values, such as: grayscale images of 28 x 28 pixels."""
        ((_, (*_, channels)),) = arrays
        return f"{KINDS[channels]} {self.asked_for()}"

    def asked_for(self) -> str:
        """Return size and range of values, such as: images of 28 x 28 pixels."""
        values = f", with {range_text(self.value_range)} as black to white" if self.value_range else ""
        return f"images of {self.size} x {self.size} pixels{values}"

    def taking(self, arrays: Specs) -> Self:
        """Return the modality with the size of an array; see `Modality`."""
        if [(array.dtype, len(array.shape)) for array in arrays] != [("uint8", 3)]:
            raise ValueError("its signature names no images, so another program registered it")
        ((_, (height, width, channels)),) = arrays
        if height != width or channels not in KINDS:
            raise ValueError(f"it takes images of {height} x {width} pixels with {channels} channels")
        return self.model_copy(update={"size": height})

    def decode(self, payload: bytes, arrays: Specs) -> "Rows":
        """Return the largest centered square of an image, resampled (antialiased bicubic); see `Modality`."""
        ((_, (height, width, channels)),) = arrays
        plain = plain_image(payload, self.value_range)
        if plain is not None and plain.pixels.shape == (height, width, channels):
            return (plain.pixels,)
        image = upright_image(payload, self.value_range) if plain is None else image_of(plain.pixels)
        return (to_shape(image, (height, width, channels)),)

    def fit_processor(self, train: "Split", content: Mapping[str, Any]) -> "ImageProcessor":
        """Return the normalization by the mean and std of each channel, which the profile of the data has."""
        from cl_core.modalities._image_processor import ImageProcessor

        return ImageProcessor(content["mean"], content["std"], self.size)

    def processor(self, arrays: Specs, state: Mapping[str, "Tensor"]) -> "ImageProcessor":
        """Return the normalization by the mean and std that `state` has; those of other channels become gray's."""
        from cl_core.modalities._image_processor import ImageProcessor

        ((_, (size, *_, channels)),) = arrays
        mean, std = (state[name].flatten().tolist() for name in ("mean", "std"))
        if len(mean) != channels:
            mean, std = ([sum(values) / len(values)] * channels for values in (mean, std))
        return ImageProcessor(mean, std, size)

    def continued_processor(
        self, arrays: Specs, champion: Mapping[str, "Tensor"], fitted: Mapping[str, "Tensor"]
    ) -> "ImageProcessor":
        """Return the normalization by the data of this training: channels mean the same under any."""
        del champion
        return self.processor(arrays, fitted)

    def example_processor(self, arrays: Specs) -> "ImageProcessor":
        """Return a normalization by mean and std 0.5."""
        from cl_core.modalities._image_processor import ImageProcessor

        ((_, (size, *_, channels)),) = arrays
        return ImageProcessor((0.5,) * channels, (0.5,) * channels, size)

    def fingerprints(self, rows: "Rows") -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """Return perceptual hashes; that of an image of one color means nothing."""
        return perceptual_hashes(*rows)

    def baseline_features(self, rows: "Rows", processor: "Processor") -> NDArray[np.float32]:
        """Return the pixels as one long row each, 0 to 1."""
        (images,) = rows
        return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)

    def preview(self, row: "Rows", *, side: int) -> Preview:
        """Return the image itself, shrunk to fit."""
        (image,) = row
        height, width = image.shape[:2]
        shown = "pixels" if max(height, width) <= min(side, _PIXELS_UP_TO) else ""
        html = Markup('<img class="{}" src="{}" alt="">').format(shown, png_uri(image, side))
        return Preview(html, f"image of {width} x {height} pixels")

    def preview_payload(self, payload: bytes, *, side: int) -> Preview:
        """Return the whole image, shrunk to fit."""
        return self.preview((decode(payload, self.value_range),), side=side)

    def facts(self, content: Mapping[str, Any]) -> dict[str, str]:
        """Return channels, their moments and sizes in words."""
        sizes = [f"{size['width']} x {size['height']} ({size['count']:,})" for size in content["sizes"][:_SHOWN_SIZES]]
        more = content["distinct_sizes"] - len(sizes)
        facts = {
            "image sizes": ", ".join(sizes) + (f" and {more:,} more" if more > 0 else ""),
            "channels": "grayscale" if content["channels"] == 1 else "color",
            "channel mean": " ".join(f"{value:.3f}" for value in content["mean"]),
            "channel std": " ".join(f"{value:.3f}" for value in content["std"]),
        }
        if content.get("value_range"):
            facts["black to white"] = range_text(content["value_range"])
        return facts

    def warnings(self, content: Mapping[str, Any]) -> list[str]:
        """Warn of images whose values use a small part of the range, which look black or gray."""
        sentences = []
        for one in content.get("narrow", ()):
            first, last = content.get("value_range") or (0, (1 << one["bits"]) - 1)
            sentences.append(
                f"the values of all {one['images']:,} images of {one['bits']} bits are {one['low']:,} to "
                f"{one['high']:,}, at most 1/16 of {first:,.6g} to {last:,.6g}, so they have few levels of gray; set "
                f"data.value_range to [{one['low']}, {one['high']}], or to the range of the sensor"
            )
        return sentences

    def _fingerprint(self, image: PIL.Image.Image, channels: int) -> bytes | None:
        """Return the perceptual hash of the pixels that the training cache will hold; None of a plain image."""
        hashes, meaningful = self.fingerprints((to_shape(image, (self.size, self.size, channels))[None],))
        return hashes[:1].astype(">u8").tobytes() if meaningful[0] else None


def range_text(value_range: Sequence[float]) -> str:
    """Write a range of values, such as: values 0 to 4,095."""
    low, high = value_range
    return f"values {low:,.6g} to {high:,.6g}"


def png_uri(image: NDArray[np.uint8], largest_side: int) -> str:
    """Return an (H, W, C) image as a PNG data URI, at its own size or shrunk to `largest_side` pixels."""
    picture = PIL.Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((largest_side, largest_side))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
