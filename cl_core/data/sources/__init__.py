"""Sources: where samples come from. One file each."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import PrivateAttr

from cl_core.errors import DataError, SpecError
from cl_core.modalities import Reason
from cl_core.refs import IMAGE
from cl_core.registry import SOURCES, Component
from cl_core.specs import DataSpec, SourceSpec


class SourceEntry(NamedTuple):
    """One input as its source lists it, unopened.

    Args:
        name: By which the source finds it again; unique in a listing.
        state: Changes whenever the content may have changed; empty where that is unknown, then it is always read.
        label: Name of its class; None without one.
        split: `train` or `test`; empty where the source does not say.
        origin: Where it is, for people.
    """

    name: bytes
    state: str
    label: str | None
    split: str
    origin: str


@dataclass(frozen=True)
class RawSample:
    """One input as the source delivers it, not inspected yet.

    Args:
        payload: Encoded sample, such as the bytes of an image file.
        label: Name of its class; None without one.
        split: `train` or `test`; empty where the source does not say.
        origin: Where it came from, for people: a path, or a row of a file.
        listed: Its entry in the listing; None where the source lists nothing.
        group: Its value in the column of `Source.grouped_by`; None without one.
    """

    payload: bytes
    label: str | None
    split: str
    origin: str
    listed: SourceEntry | None = None
    group: str | None = None


@dataclass(frozen=True)
class Unreadable:
    """An input that could not be read; it is quarantined."""

    origin: str
    detail: str
    listed: SourceEntry | None = None
    reason: Reason = "unreadable"


class Source(Component):
    """A place that samples come from. Its fields are its options."""

    modalities: ClassVar[tuple[str, ...]] = (IMAGE,)
    """Kinds of payloads that it can deliver; empty where it may deliver any."""

    of_one_modality: ClassVar[Mapping[str, str]] = {}
    """Options that are read where it delivers one modality: that one, by option."""

    _modality: str = PrivateAttr(IMAGE)

    def delivering(self, modality: str) -> Self:
        """Return this source with one of its kinds of payloads, which it finds in `_modality`.

        Raises:
            SpecError: When an option is given that is read for another kind only.
        """
        for option, of in self.of_one_modality.items():
            value = getattr(self, option)
            if of != modality and value != type(self).model_fields[option].default:
                raise SpecError(
                    f"data.source_options.{option}: {value!r} is read of {of} only, and data.modality is {modality}; "
                    f"set it to {of}, or leave the option out"
                )
        copy = self.model_copy()
        copy._modality = modality
        return copy

    @abstractmethod
    def fingerprint(self, location: str) -> str:
        """Return text that changes when the content may have changed, without reading the samples.

        Raises:
            DataError: When the location is missing, empty or unreadable.
        """

    def listed(self, location: str) -> Iterator[SourceEntry] | None:
        """List all inputs, in any order, unopened; return None where listing an input costs as much as reading it.

        A source that lists its inputs also implements `read`. Then an input whose state is unchanged since an earlier
        ingestion is not read again.

        Raises:
            DataError: When the location is missing, empty or unreadable.
        """
        del location
        return None

    def read(self, location: str, listed: SourceEntry) -> RawSample | Unreadable:
        """Read one of the inputs that `listed` yields."""
        raise NotImplementedError(f"{type(self).__name__} lists inputs but does not implement `read`")

    @abstractmethod
    def samples(self, location: str) -> Iterator[RawSample | Unreadable]:
        """Yield all inputs, in any order, one at a time: a source never holds the dataset in memory.

        Raises:
            DataError: When the location is missing, empty or unreadable.
        """

    def note(self, location: str) -> str:
        """Return what a person should know about how the location was read, as a phrase; mostly empty."""
        del location
        return ""

    def content(self) -> Mapping[str, Any]:
        """Return what the source knows of payloads beyond themselves, such as the names of columns.

        It is asked after the samples were read.
        """
        return {}

    def passed_over(self) -> dict[str, int]:
        """Return how many files were passed over when the location was last listed or read, by suffix or name."""
        return {}

    def grouped_by(self, column: str) -> Self:
        """Return this source with the value of a column as the group of each sample.

        Raises:
            DataError: When its samples are not in a table. Reading raises one when the table has no such column.
        """
        raise DataError(
            f"data.group: the source {self.registered_name!r} has no columns, so none is named {column!r}; group by "
            "'folder:N' or 'pattern:REGEX', or choose the source 'parquet'"
        )

    def number_of_inputs(self, location: str) -> int:
        """Return how many inputs `samples` yields. It reads them all, unless a source has a faster way."""
        return sum(1 for _ in self.samples(location))

    def find(self, location: str, origins: Mapping[bytes, str]) -> dict[bytes, bytes]:
        """Return the payloads of a few samples: of those that are unchanged at their origin.

        It reads all inputs, unless a source has a faster way.

        Args:
            location: As for `samples`.
            origins: Origin of each sample, by its id: the sha256 of the payload, 32 bytes.

        Returns:
            Payload by id; missing ones are left out.
        """
        places = set(origins.values())
        payloads: dict[bytes, bytes] = {}
        for sample in self.samples(location):
            if isinstance(sample, RawSample) and sample.origin in places:
                payloads |= unchanged([sample.payload], origins)
                if len(payloads) == len(origins):
                    break
        return payloads


def built_source(spec: DataSpec | SourceSpec, modality: str) -> Source:
    """Build the source of a spec.

    Raises:
        SpecError: When the source or one of its options is unknown or out of range, or it delivers no such payloads.
    """
    source: Source = SOURCES.build(spec.source, spec.source_options, field="data.source")
    if source.modalities and modality not in source.modalities:
        raise SpecError(
            f"data.source: {spec.source!r} delivers {' or '.join(source.modalities)}, not {modality}; choose another "
            "source, or another data.modality"
        )
    return source.delivering(modality)


def unchanged(payloads: Iterable[bytes], origins: Mapping[bytes, str]) -> dict[bytes, bytes]:
    """Return the payloads whose ids are keys of `origins`, by id."""
    by_id = {hashlib.sha256(payload).digest(): payload for payload in payloads}
    return {sample: payload for sample, payload in by_id.items() if sample in origins}
