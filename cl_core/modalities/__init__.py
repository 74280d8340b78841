"""Modalities: what one kind of payload is, from hostile bytes to the numbers that encoders take. One file each."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cl_core.registry import Component

if TYPE_CHECKING:
    from torch import nn

Reason = Literal[
    "empty",
    "too_large",
    "not_an_image",
    "damaged",
    "unknown_range",
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

    @abstractmethod
    def inspect(self, payload: bytes, *, fingerprint: bool) -> PayloadInfo:
        """Decode untrusted bytes and return what is known of them; in a process of its own, many times.

        Raises:
            Rejected: When they cannot be used.
        """

    @abstractmethod
    def profiler(self) -> Profiler:
        """Return a profiler that has seen nothing."""

    @abstractmethod
    def array_spec(self, profile: Mapping[str, Any]) -> ArraySpec:
        """Return what payloads are decoded to; `profile` are fields that the modality's profiler gave."""

    @property
    def variant(self) -> str:
        """Options that make other samples of the same bytes, as a part of a file's name; empty for the defaults."""
        return ""

    @property
    def digest_part(self) -> bytes:
        """The same options as a part of a snapshot's digest."""
        return f"variant {self.variant}\n".encode() if self.variant else b""

    @abstractmethod
    def decode(self, payload: bytes, array: ArraySpec) -> NDArray[Any]:
        """Return the array of one payload that was inspected.

        Raises:
            Rejected: When the bytes cannot be used.
        """

    @abstractmethod
    def view_shape(self, array: ArraySpec) -> tuple[int, ...]:
        """Return the shape of a sample as the processor gives it to encoders."""

    @abstractmethod
    def processor(self, *, mean: Sequence[float], std: Sequence[float]) -> "nn.Module":
        """Return what turns rows of the cache into what encoders take, from moments of the training split."""

    @abstractmethod
    def fingerprints(self, rows: NDArray[Any]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """Return 64 bits of each of N rows of the cache, alike for rows that are alike, and whether they mean anything.

        Returns:
            (N,) uint64 and (N,) bool.
        """

    @abstractmethod
    def baseline_features(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Return what the payload is without any training: (N, F) of N rows of the cache."""
