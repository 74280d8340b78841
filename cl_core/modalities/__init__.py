"""Modalities: what one kind of payload is, from hostile bytes to the numbers that encoders take. One file each."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from cl_core.hashing import digest_of
from cl_core.modalities._payloads import IDENTITY_BYTES, PayloadInfo, Reason, Rejected, joined, parts_of
from cl_core.modalities._values import ArraySpec, ColumnKind, Preview, Profiler, Specs
from cl_core.registry import Component

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from cl_core.columns import Rows, Split
    from cl_core.modalities._processor import Processor

__all__ = ["ArraySpec", "ColumnKind", "PayloadInfo", "Preview", "Profiler", "Reason", "Rejected", "Specs", "joined"]

_T = TypeVar("_T")


class Modality(Component):
    """One kind of payload. Its fields are its options."""

    columns: ClassVar[tuple[ColumnKind, ...]]
    """What a payload has: a part for each column."""
    sides: ClassVar[int] = 1
    """2 where a sample is a pair, a column each, of which a model takes one. 1 where it takes all columns."""
    unit: ClassVar[str]
    """What a payload is called, such as image; its plural has an s."""
    query: ClassVar[str]
    """The file that a person searches by, such as: a PNG file."""
    baseline: ClassVar[str]
    """Name of the baseline features, such as raw_pixels."""
    evaluation_views: ClassVar[str]
    """View policy by which models are compared, whatever they were trained with."""
    has_fingerprints: ClassVar[bool] = False
    """Whether near-duplicates can be found."""
    is_symbolic: ClassVar[bool] = False
    """Whether processors give ids, as those of words, which cannot be mixed as numbers can."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions decide what payloads become, such as Pillow."""
    hidden_options: ClassVar[tuple[str, ...]] = ()
    """Options that make other arrays of the same payloads and do not show in an array's shape."""
    fitted_options: ClassVar[tuple[str, ...]] = ()
    """Options of what is fitted to the training split: they decide neither payloads nor what a model takes."""

    # --- payloads, when they are ingested

    @abstractmethod
    def inspect(self, payload: bytes, *, fingerprint: bool) -> PayloadInfo:
        """Decode untrusted bytes and return what is known of them; called by several threads at once.

        Raises:
            Rejected: When they cannot be used.
        """

    def identities(self, payload: bytes) -> tuple[bytes, ...]:
        """Return by what a sample is the same thing as another, beside its whole content: 8 bytes each.

        Samples that have one in common are never in two splits, and never negatives of each other. By default it is a
        hash of each part whose column `identifies`; another method is asked only if a column does.

        Raises:
            Rejected: When the bytes cannot be used.
        """
        parts = zip(self.columns, self.parts(payload), strict=True)
        return tuple(hashlib.sha256(part).digest()[:IDENTITY_BYTES] for kind, part in parts if kind.identifies)

    @property
    def has_identities(self) -> bool:
        """Whether samples may be the same thing although their contents differ."""
        return any(kind.identifies for kind in self.columns)

    def parts(self, payload: bytes) -> tuple[bytes, ...]:
        """Return the part of each column; see `joined`.

        Raises:
            Rejected: When the payload has not as many.
        """
        return parts_of(payload, len(self.columns))

    @abstractmethod
    def profiler(self) -> Profiler:
        """Return a profiler that has seen nothing."""

    @property
    def variant(self) -> str:
        """The hidden and the fitted options as a part of the name of a cache; empty for the defaults."""
        options = {**self.hidden, **self._changed(self.fitted_options)}
        return f"-{digest_of(options)[:12]}" if options else ""

    @property
    def digest_part(self) -> bytes:
        """The modality and its hidden options as a part of a snapshot's digest."""
        hidden = f"-{digest_of(self.hidden)[:12]}" if self.hidden else ""
        return f"modality {self.registered_name}{hidden}\n".encode()

    # --- arrays, which are cached, and which registered models take

    @abstractmethod
    def array_specs(self, content: Mapping[str, Any]) -> Specs:
        """Return what payloads are decoded to; `content` are the fields of a profile that the profiler gave."""

    def known_arrays(self) -> Specs | None:
        """Return arrays that payloads may be decoded to, before any was read; None where the options say too little.

        What they leave open, as the channels of images, decides nothing that is checked on them.
        """
        return None

    @abstractmethod
    def describe(self, arrays: Specs) -> str:
        """Return arrays in words, such as: color images of 32 x 32 pixels."""

    def asked_for(self) -> str:
        """Return in words what the options say of arrays before any payload was read."""
        return f"{self.unit}s"

    def taking(self, arrays: Specs) -> Self:
        """Return the modality with the options that decode payloads to such arrays.

        Raises:
            ValueError: When there are none; the message says what the arrays are.
        """
        types, own = ([one.dtype for one in several] for several in (arrays, self.columns))
        if types != own:
            raise ValueError(f"it takes arrays of {' and '.join(types)}, not {' and '.join(own)}")
        return self

    @property
    def programs(self) -> tuple[int, ...]:
        """Sides for which a model has a program of its own. That of the first takes the others, too."""
        return (0,)

    def served(self, side: int = 0) -> "Modality":
        """Return what a model takes: the same, or of pairs what a side is."""
        del side
        return self

    def side(self, columns: tuple[_T, ...], number: int = 0) -> tuple[_T, ...]:
        """Return, of what a sample has for each column, what a model takes: all, or of pairs that of one side."""
        return columns[number : number + 1] if self.sides > 1 else columns

    @abstractmethod
    def decode(self, payload: bytes, arrays: Specs) -> "Rows":
        """Return the arrays of one payload, one for each column; those of ragged columns may be shorter.

        Raises:
            Rejected: When the bytes cannot be used.
        """

    # --- views, which encoders take

    @abstractmethod
    def fit_processor(self, train: "Split", content: Mapping[str, Any]) -> "Processor":
        """Return what turns cached rows into what encoders take, fitted to the training split alone."""

    @abstractmethod
    def processor(self, arrays: Specs, state: Mapping[str, "Tensor"]) -> "Processor":
        """Return the fitted processor whose buffers are `state`.

        Raises:
            ValueError: When they are of other arrays.
        """

    def continued_processor(
        self, arrays: Specs, champion: Mapping[str, "Tensor"], fitted: Mapping[str, "Tensor"]
    ) -> "Processor":
        """Return the processor of a training that starts from the champion's weights.

        By default it is the champion's: without its mask, or its vocabulary, its weights would mean something else.

        Args:
            arrays: What the processor takes.
            champion: Buffers of the champion's processor; empty where it was registered without them.
            fitted: Buffers of the processor that was fitted to the data of this training.

        Raises:
            ValueError: When the champion's are of other arrays.
        """
        return self.processor(arrays, champion or fitted)

    @abstractmethod
    def example_processor(self, arrays: Specs) -> "Processor":
        """Return a processor of such arrays that was fitted to nothing, to try components with."""

    # --- what is known without any training

    def fingerprints(self, rows: "Rows") -> "tuple[NDArray[np.uint64], NDArray[np.bool_]]":
        """Return 64 bits of each of N rows of the cache, alike for rows that are alike, and whether they mean anything.

        Asked only of a modality that `has_fingerprints`.

        Returns:
            (N,) uint64 and (N,) bool.
        """
        raise NotImplementedError(f"{type(self).__name__} has no fingerprints")

    @abstractmethod
    def baseline_features(self, rows: "Rows", processor: "Processor") -> "NDArray[np.float32]":
        """Return what the payload is without any training: (N, F) of N rows of the cache."""

    @abstractmethod
    def preview(self, row: "Rows", *, side: int) -> Preview:
        """Return a row of the cache as a person sees it, at most `side` pixels wide and high."""

    def preview_payload(self, payload: bytes, *, side: int) -> Preview:
        """Return a payload as a person sees it, whole, at most `side` pixels wide and high.

        Raises:
            Rejected: When the bytes cannot be used.
        """
        raise NotImplementedError(f"{type(self).__name__} shows no payloads")

    def facts(self, content: Mapping[str, Any]) -> dict[str, str]:
        """Return what a snapshot's profile says of its payloads, in words by name; `content` as for `array_specs`."""
        del content
        return {}

    def warnings(self, content: Mapping[str, Any]) -> list[str]:
        """Return what a person should know of a snapshot, a sentence each; `content` as for `array_specs`."""
        del content
        return []

    def fitted_notes(self, state: Mapping[str, "Tensor"]) -> tuple[list[str], list[str]]:
        """Return what a person should know of a fitted processor: facts, then warnings; a sentence each."""
        del state
        return [], []

    def payload_of(self, file: bytes) -> bytes:
        """Return the payload in the bytes of a file that a person searches by; by default it is all of them.

        Raises:
            Rejected: When it holds none.
        """
        return file

    @property
    def hidden(self) -> dict[str, Any]:
        """The hidden options that differ from their defaults, as JSON values."""
        return self._changed(self.hidden_options)

    def _changed(self, names: tuple[str, ...]) -> dict[str, Any]:
        values = self.model_dump(mode="json", include=set(names), exclude_defaults=True)
        return {name: values[name] for name in names if name in values}
