"""Images and the texts that belong to them, such as captions."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from markupsafe import Markup

from cl_core.modalities import ColumnKind, Modality, PayloadInfo, Preview, Profiler, Rejected, Specs
from cl_core.modalities._image_profile import MEASURES
from cl_core.modalities._payloads import IDENTITY_BYTES
from cl_core.modalities._text_modality import TextOptions
from cl_core.modalities.image import ImageOptions, Images
from cl_core.modalities.text import Texts
from cl_core.registry import MODALITIES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from cl_core.columns import Rows, Split
    from cl_core.modalities._pair_processor import PairProcessor
    from cl_core.modalities._processor import Processor

_T = TypeVar("_T")


@MODALITIES.register("image_text")
class ImageTexts(ImageOptions, TextOptions, Modality):
    """Images with a text each. A model has a program for images and one for texts, with embeddings in one space.

    Samples with the same image, or with the same text, are never in two splits, and never negatives of each other.
    """

    columns: ClassVar[tuple[ColumnKind, ...]] = (
        Images.columns[0]._replace(identifies=True),
        Texts.columns[0],
    )
    sides: ClassVar[int] = 2
    unit: ClassVar[str] = "captioned image"
    query: ClassVar[str] = Images.query
    baseline: ClassVar[str] = Images.baseline
    evaluation_views: ClassVar[str] = Images.evaluation_views
    has_fingerprints: ClassVar[bool] = True
    is_symbolic: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = Images.libraries
    hidden_options: ClassVar[tuple[str, ...]] = Images.hidden_options
    fitted_options: ClassVar[tuple[str, ...]] = Texts.fitted_options

    @cached_property
    def _images(self) -> Images:
        return Images(**self.model_dump(include=set(Images.model_fields)))

    @cached_property
    def _texts(self) -> Texts:
        return Texts(**self.model_dump(include=set(Texts.model_fields)))

    @property
    def programs(self) -> tuple[int, ...]:
        """One for images and one for texts."""
        return (0, 1)

    def served(self, side: int = 0) -> Modality:
        """Return images, or texts, with the same options."""
        return self._texts if side else self._images

    def inspect(self, payload: bytes, *, fingerprint: bool) -> PayloadInfo:
        """Check an image and its text; see `Modality`."""
        image, text = self.parts(payload)
        of_text = _named("text", lambda: self._texts.inspect(text, fingerprint=False))
        info = _named("image", lambda: self._images.inspect(image, fingerprint=fingerprint))
        return info._replace(id=hashlib.sha256(payload).digest(), measures=info.measures + of_text.measures)

    def identities(self, payload: bytes) -> tuple[bytes, ...]:
        """Return a hash of the image file, and one of the text without what is a matter of form."""
        image, text = self.parts(payload)
        return (hashlib.sha256(image).digest()[:IDENTITY_BYTES], *self._texts.identities(text))

    def profiler(self) -> Profiler:
        """Return a profiler of both."""
        return _PairProfiler(self._images.profiler(), self._texts.profiler())

    def array_specs(self, content: Mapping[str, Any]) -> Specs:
        """Return (size, size, channels) uint8 and (length,) uint8."""
        return self._images.array_specs(content) + self._texts.array_specs(content)

    def known_arrays(self) -> Specs:
        """Return the arrays of a color image and its text."""
        return self._images.known_arrays() + self._texts.known_arrays()

    def describe(self, arrays: Specs) -> str:
        """Return both, such as: color images of 32 x 32 pixels with texts of at most 128 bytes."""
        return f"{self._images.describe(arrays[:1])} with {self._texts.describe(arrays[1:])}"

    def asked_for(self) -> str:
        """Return both, such as: images of 32 x 32 pixels with texts of at most 128 bytes."""
        return f"{self._images.asked_for()} with {self._texts.asked_for()}"

    def taking(self, arrays: Specs) -> Self:
        """Return the modality with the size and the length of such arrays; see `Modality`."""
        size, length = self._images.taking(arrays[:1]).size, self._texts.taking(arrays[1:]).length
        return self.model_copy(update={"size": size, "length": length})

    def decode(self, payload: bytes, arrays: Specs) -> "Rows":
        """Return the image and the text as they are decoded alone."""
        image, text = self.parts(payload)
        return self._images.decode(image, arrays[:1]) + self._texts.decode(text, arrays[1:])

    def fit_processor(self, train: "Split", content: Mapping[str, Any]) -> "PairProcessor":
        """Return the normalization of the images, and the vocabulary of the texts of the training split."""
        sides = (replace(train, columns=train.columns.side(side)) for side in range(self.sides))
        image, text = sides
        return self._paired(self._images.fit_processor(image, content), self._texts.fit_processor(text, content))

    def processor(self, arrays: Specs, state: Mapping[str, "Tensor"]) -> "PairProcessor":
        """Return the processors with the buffers of both; see `Modality`."""
        return self._paired(
            self._images.processor(arrays[:1], _of_side("image", state)),
            self._texts.processor(arrays[1:], _of_side("text", state)),
        )

    def continued_processor(
        self, arrays: Specs, champion: Mapping[str, "Tensor"], fitted: Mapping[str, "Tensor"]
    ) -> "PairProcessor":
        """Return the normalization by the images of this training, and the champion's vocabulary."""
        (image, text), states = (self._images, self._texts), (champion, fitted)
        return self._paired(
            image.continued_processor(arrays[:1], *(_of_side("image", state) for state in states)),
            text.continued_processor(arrays[1:], *(_of_side("text", state) for state in states)),
        )

    def example_processor(self, arrays: Specs) -> "PairProcessor":
        """Return the example processors of both."""
        return self._paired(self._images.example_processor(arrays[:1]), self._texts.example_processor(arrays[1:]))

    def fingerprints(self, rows: "Rows") -> "tuple[NDArray[np.uint64], NDArray[np.bool_]]":
        """Return perceptual hashes of the images."""
        return self._images.fingerprints(rows[:1])

    def baseline_features(self, rows: "Rows", processor: "Processor") -> "NDArray[np.float32]":
        """Return the pixels of the images."""
        return self._images.baseline_features(rows[:1], processor.side(0))

    def preview(self, row: "Rows", *, side: int) -> Preview:
        """Return the image, and the beginning of the text below it."""
        return _shown(self._images.preview(row[:1], side=side), self._texts.preview(row[1:], side=side))

    def preview_payload(self, payload: bytes, *, side: int) -> Preview:
        """Return the whole image, and the beginning of the text below it."""
        image, text = self.parts(payload)
        return _shown(self._images.preview_payload(image, side=side), self._texts.preview_payload(text, side=side))

    def facts(self, content: Mapping[str, Any]) -> dict[str, str]:
        """Return what a profile says of images, and of texts."""
        return self._images.facts(content) | self._texts.facts(content)

    def warnings(self, content: Mapping[str, Any]) -> list[str]:
        """Return what a person should know of images, and of texts."""
        return self._images.warnings(content) + self._texts.warnings(content)

    def fitted_notes(self, state: Mapping[str, "Tensor"]) -> tuple[list[str], list[str]]:
        """Return what a person should know of the vocabulary."""
        return self._texts.fitted_notes(_of_side("text", state))

    def _paired(self, image: "Processor", text: "Processor") -> "PairProcessor":
        from cl_core.modalities._pair_processor import PairProcessor

        return PairProcessor({"image": image, "text": text})


class _PairProfiler:
    """Adds up what both profilers count."""

    def __init__(self, images: Profiler, texts: Profiler) -> None:
        self._images, self._texts = images, texts

    def add(self, split: str, measures: bytes) -> None:
        """Count one distinct sample."""
        self._images.add(split, measures[: MEASURES.size])
        self._texts.add(split, measures[MEASURES.size :])

    def profile(self) -> dict[str, Any]:
        """Return the fields of both."""
        return self._images.profile() | self._texts.profile()


def _named(side: str, inspect: Callable[[], _T]) -> _T:
    """Inspect one side; say which one it is that is rejected."""
    try:
        return inspect()
    except Rejected as rejection:
        raise Rejected(rejection.reason, f"{side}: {rejection.detail}") from rejection


def _of_side(side: str, state: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Return the buffers of the processor of one side."""
    prefix = f"{side}."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _shown(image: Preview, text: Preview) -> Preview:
    return Preview(Markup("{}<br>{}").format(image.html, text.html), f"{image.text}: {text.text}")
