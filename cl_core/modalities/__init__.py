"""Modalities: what one kind of payload is, from hostile bytes to the numbers that encoders take. One file each."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, Self

from cl_core.hashing import digest_of
from cl_core.registry import Component

if TYPE_CHECKING:
    import numpy as np
    from markupsafe import Markup
    from numpy.typing import NDArray
    from torch import Tensor

    from cl_core.columns import Split
    from cl_core.modalities._processor import Processor

Reason = Literal[
    "empty",
    "too_large",
    "not_an_image",
    "damaged",
    "unknown_range",
    "no_values",
    "infinite",
    "other_length",
    "unreadable",
    "conflicting_labels",
    "in_test_split",
]


class Rejected(Exception):  # noqa: N818 - a verdict on one input, caught by whoever asked, not an error of the run
    """An input that cannot be used. `reason` is a code to count by, `detail` a sentence for people."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class PayloadInfo(NamedTuple):
    """What is known of one payload that can be decoded."""

    id: bytes  # (32,) bytes, its sha256.
    format: str  # Such as PNG.
    measures: bytes  # What the modality's profiler adds up.
    fingerprint: bytes | None  # (8,) bytes, big-endian; None where it was not asked for, or would say nothing.


class ArraySpec(NamedTuple):
    """A decoded payload: what is cached, and what a registered model takes."""

    dtype: str
    shape: tuple[int, ...]


class Preview(NamedTuple):
    """A sample as a person sees it."""

    html: "Markup"  # Self-contained: it loads nothing.
    text: str  # One line.


class Profiler(Protocol):
    """Adds up the measures of a snapshot's samples; the result does not depend on their order."""

    def add(self, split: str, measures: bytes) -> None:
        """Count one distinct sample."""

    def profile(self) -> dict[str, Any]:
        """Return the fields of the snapshot's profile that the modality knows."""


class Modality(Component):
    """One kind of payload. Its fields are its options."""

    columns: ClassVar[tuple[str, ...]]
    """Columns of a snapshot that hold the payload."""
    dtype: ClassVar[str]
    """Type of a value of a decoded payload, such as uint8."""
    layout: ClassVar[str]
    """Shape of N decoded payloads in letters, such as (N, H, W, C)."""
    unit: ClassVar[str]
    """What a payload is called, such as image; its plural has an s."""
    query: ClassVar[str]
    """The file that a person searches by, such as: a PNG file."""
    baseline: ClassVar[str]
    """Name of the baseline features, such as raw_pixels."""
    evaluation_views: ClassVar[str]
    """View policy by which models are compared, whatever they were trained with."""
    ragged: ClassVar[bool] = False
    """Whether arrays differ in length: the first side of a shape is that of the longest, to which others are padded."""
    has_fingerprints: ClassVar[bool] = False
    """Whether near-duplicates can be found."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions decide what payloads become, such as Pillow."""
    hidden_options: ClassVar[tuple[str, ...]] = ()
    """Options that make other arrays of the same payloads and do not show in an array's shape."""

    # --- payloads, when they are ingested

    @abstractmethod
    def inspect(self, payload: bytes, *, fingerprint: bool) -> PayloadInfo:
        """Decode untrusted bytes and return what is known of them; in a process of its own, many times.

        Raises:
            Rejected: When they cannot be used.
        """

    @abstractmethod
    def profiler(self) -> Profiler:
        """Return a profiler that has seen nothing."""

    @property
    def variant(self) -> str:
        """The hidden options as a part of a file's name; empty for the defaults."""
        return f"-{digest_of(self.hidden)[:12]}" if self.hidden else ""

    @property
    def digest_part(self) -> bytes:
        """The modality and its hidden options as a part of a snapshot's digest."""
        return f"modality {self.registered_name}{self.variant}\n".encode()

    # --- arrays, which are cached, and which registered models take

    @abstractmethod
    def array_spec(self, content: Mapping[str, Any]) -> ArraySpec:
        """Return what payloads are decoded to; `content` are the fields of a profile that the profiler gave."""

    def known_array(self) -> ArraySpec | None:
        """Return an array that payloads may be decoded to, before any was read; None where the options say too little.

        What it leaves open, as the channels of images, decides nothing that is checked on it.
        """
        return None

    @abstractmethod
    def describe(self, array: ArraySpec) -> str:
        """Return arrays in words, such as: color images of 32 x 32 pixels."""

    def asked_for(self) -> str:
        """Return in words what the options say of arrays before any payload was read."""
        return f"{self.unit}s"

    def taking(self, array: ArraySpec) -> Self:
        """Return the modality with the options that decode payloads to such arrays.

        Raises:
            ValueError: When there are none; the message says what the arrays are.
        """
        if array.dtype != self.dtype:
            raise ValueError(f"it takes arrays of {array.dtype}, not {self.dtype}")
        return self

    @abstractmethod
    def decode(self, payload: bytes, array: ArraySpec) -> "NDArray[Any]":
        """Return the array of one payload that was inspected; one of a ragged modality may be shorter.

        Raises:
            Rejected: When the bytes cannot be used.
        """

    # --- views, which encoders take

    @abstractmethod
    def fit_processor(self, train: "Split", content: Mapping[str, Any]) -> "Processor":
        """Return what turns cached rows into what encoders take, fitted to the training split alone."""

    @abstractmethod
    def processor(self, array: ArraySpec, state: Mapping[str, "Tensor"]) -> "Processor":
        """Return the fitted processor whose buffers are `state`.

        Raises:
            ValueError: When they are of other arrays.
        """

    def continued_processor(
        self, array: ArraySpec, champion: Mapping[str, "Tensor"], fitted: Mapping[str, "Tensor"]
    ) -> "Processor":
        """Return the processor of a training that starts from the champion's weights.

        By default it is the champion's: without its mask, or its vocabulary, its weights would mean something else.

        Args:
            array: What the processor takes.
            champion: Buffers of the champion's processor; empty where it was registered without them.
            fitted: Buffers of the processor that was fitted to the data of this training.

        Raises:
            ValueError: When the champion's are of other arrays.
        """
        return self.processor(array, champion or fitted)

    @abstractmethod
    def example_processor(self, array: ArraySpec) -> "Processor":
        """Return a processor of such arrays that was fitted to nothing, to try components with."""

    # --- what is known without any training

    def fingerprints(self, rows: "NDArray[Any]") -> "tuple[NDArray[np.uint64], NDArray[np.bool_]]":
        """Return 64 bits of each of N rows of the cache, alike for rows that are alike, and whether they mean anything.

        Asked only of a modality that `has_fingerprints`.

        Returns:
            (N,) uint64 and (N,) bool.
        """
        raise NotImplementedError(f"{type(self).__name__} has no fingerprints")

    @abstractmethod
    def baseline_features(self, rows: "NDArray[Any]", processor: "Processor") -> "NDArray[np.float32]":
        """Return what the payload is without any training: (N, F) of N rows of the cache."""

    @abstractmethod
    def preview(self, row: "NDArray[Any]", *, side: int) -> Preview:
        """Return a row of the cache as a person sees it, at most `side` pixels wide and high."""

    def preview_payload(self, payload: bytes, *, side: int) -> Preview:
        """Return a payload as a person sees it, whole, at most `side` pixels wide and high.

        Raises:
            Rejected: When the bytes cannot be used.
        """
        raise NotImplementedError(f"{type(self).__name__} shows no payloads")

    def facts(self, content: Mapping[str, Any]) -> dict[str, str]:
        """Return what a snapshot's profile says of its payloads, in words by name; `content` as for `array_spec`."""
        del content
        return {}

    def warnings(self, content: Mapping[str, Any]) -> list[str]:
        """Return what a person should know of a snapshot, a sentence each; `content` as for `array_spec`."""
        del content
        return []

    def payload_of(self, file: bytes) -> bytes:
        """Return the payload in the bytes of a file that a person searches by; by default it is all of them.

        Raises:
            Rejected: When it holds none.
        """
        return file

    @property
    def hidden(self) -> dict[str, Any]:
        """The hidden options that differ from their defaults, as JSON values."""
        values = self.model_dump(mode="json", include=set(self.hidden_options), exclude_defaults=True)
        return {name: values[name] for name in self.hidden_options if name in values}
