"""Sources: where samples come from. One file each."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cl_core.registry import Component


@dataclass(frozen=True)
class SourceEntry:
    """One input as its source lists it, unopened.

    Args:
        name: By which the source finds it again; no two inputs of a listing share one.
        state: Changes whenever the content may have; empty where that cannot be told, and the input is always read.
        label: Name of its class; None without one.
        split: `train` or `test`; empty where the source does not say.
        origin: Where it stands, for people.
    """

    name: bytes
    state: str
    label: str | None
    split: str
    origin: str


@dataclass(frozen=True)
class RawSample:
    """One input as the source delivers it, not yet looked at.

    Args:
        payload: Encoded image bytes.
        label: Name of its class; None without one.
        split: `train` or `test`; empty where the source does not say.
        origin: Where it came from, for people: a path, or a row of a file.
        listed: How it was listed; None where the source lists nothing.
    """

    payload: bytes
    label: str | None
    split: str
    origin: str
    listed: SourceEntry | None = None


@dataclass(frozen=True)
class Unreadable:
    """An input that could not even be read; goes to quarantine."""

    origin: str
    detail: str
    listed: SourceEntry | None = None


class Source(Component):
    """A place that samples come from. Its fields are its options."""

    @abstractmethod
    def fingerprint(self, location: str) -> str:
        """Text that changes when the content may have; cheap, so that an unchanged source is not read again.

        Raises:
            DataError: When the location is missing, empty or unreadable.
        """

    def listed(self, location: str) -> Iterator[SourceEntry] | None:
        """All inputs, in any order, unopened; None where looking at an input costs as much as reading it.

        A source that lists its inputs also says how to `read` one. Then an input whose state has not changed since an
        earlier ingestion is not read again.

        Raises:
            DataError: When the location is missing, empty or unreadable.
        """
        del location
        return None

    def read(self, location: str, listed: SourceEntry) -> RawSample | Unreadable:
        """One of the inputs that `listed` gave, opened."""
        raise NotImplementedError(f"{type(self).__name__} lists inputs and does not say how to read one")

    @abstractmethod
    def samples(self, location: str) -> Iterator[RawSample | Unreadable]:
        """All inputs, in any order, one at a time: a source never holds the dataset in memory.

        Raises:
            DataError: When the location is missing, empty or unreadable.
        """

    def number_of_inputs(self, location: str) -> int:
        """How many inputs `samples` delivers. They are all read for it, unless a source knows a quicker way."""
        return sum(1 for _ in self.samples(location))

    def find(self, location: str, wanted: Mapping[bytes, str]) -> dict[bytes, bytes]:
        """The encoded images of a few samples: of those that are still where they were, with the same bytes.

        All inputs are read for it, unless a source knows a quicker way.

        Args:
            location: As for `samples`.
            wanted: Origin of each sample, by its id: the sha256 of the encoded image, 32 bytes.

        Returns:
            Encoded image by id; what is not found is left out.
        """
        origins = set(wanted.values())
        found: dict[bytes, bytes] = {}
        for each in self.samples(location):
            if isinstance(each, RawSample) and each.origin in origins:
                found |= unchanged([each.payload], wanted)
                if len(found) == len(wanted):
                    break
        return found


def unchanged(payloads: Iterable[bytes], wanted: Mapping[bytes, str]) -> dict[bytes, bytes]:
    """The encoded images whose ids are wanted, by id."""
    by_id = {hashlib.sha256(payload).digest(): payload for payload in payloads}
    return {sample: payload for sample, payload in by_id.items() if sample in wanted}
