"""Payloads: what a sample is while it is ingested, and why one is rejected. One string of bytes, whatever it holds."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

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
    "no_image",
    "no_text",
    "conflicting_labels",
    "in_test_split",
]

IDENTITY_BYTES = 8
_LENGTH_BYTES = 8


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
    identities: bytes = b""  # Those that `Modality.identities` returns, 8 bytes each; whoever inspects adds them.


def joined(parts: Sequence[bytes]) -> bytes:
    """Return the payload of a sample's parts, one for each column: the lengths of all but the last, then the parts.

    So a payload of one part is the part itself. A length is 8 bytes, little-endian.
    """
    if len(parts) == 1:
        return parts[0]
    lengths = (len(part).to_bytes(_LENGTH_BYTES, "little") for part in parts[:-1])
    return b"".join([*lengths, *parts])


def parts_of(payload: bytes, count: int) -> tuple[bytes, ...]:
    """Return the parts of a payload, as they were joined.

    Raises:
        Rejected: When it has not as many.
    """
    if count == 1:
        return (payload,)
    start, parts = _LENGTH_BYTES * (count - 1), list[bytes]()
    for at in range(0, start, _LENGTH_BYTES):
        stop = start + int.from_bytes(payload[at : at + _LENGTH_BYTES], "little")
        parts.append(payload[start:stop])
        start = stop
    if start > len(payload):
        raise Rejected("damaged", f"its {len(payload):,} bytes do not hold {count} parts")
    return (*parts, payload[start:])
