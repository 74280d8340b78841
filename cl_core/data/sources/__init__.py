"""Sources: where samples come from. One file each."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from cl_core.registry import Component


@dataclass(frozen=True)
class RawSample:
    """One input as the source delivers it, not yet looked at.

    Args:
        payload: Encoded image bytes.
        label: Name of its class; None without one.
        split: `train` or `test`; empty where the source does not say.
        origin: Where it came from, for people: a path, or a row of a file.
    """

    payload: bytes
    label: str | None
    split: str
    origin: str


@dataclass(frozen=True)
class Unreadable:
    """An input that could not even be read; goes to quarantine."""

    origin: str
    detail: str


class Source(Component):
    """A place that samples come from. Its fields are its options."""

    @abstractmethod
    def fingerprint(self, location: str) -> str:
        """Text that changes when the content may have; cheap, so that an unchanged source is not read again.

        Raises:
            DataError: When the location is missing, empty or unreadable.
        """

    @abstractmethod
    def samples(self, location: str) -> Iterator[RawSample | Unreadable]:
        """All inputs, in any order, one at a time: a source never holds the dataset in memory.

        Raises:
            DataError: When the location is missing, empty or unreadable.
        """
