"""Inspect inputs: decode each once for its id and what its modality measures, or the reason to reject it."""

from dataclasses import dataclass

from cl_core.data.sources import RawSample, SourceEntry, Unreadable
from cl_core.modalities import Modality, PayloadInfo, Rejected


@dataclass(frozen=True)
class Unchanged:
    """An input that is unchanged since an earlier ingestion, and the result of its inspection then."""

    listed: SourceEntry
    result: PayloadInfo | Rejected


Input = RawSample | Unreadable | Unchanged


def inspect_payloads(inputs: list[Input], modality: Modality, *, fingerprint: bool) -> list[PayloadInfo | Rejected]:
    """Return what is known of each input, or why it is rejected, in the same order."""
    return [_inspect(item, modality, fingerprint=fingerprint) for item in inputs]


def _inspect(item: Input, modality: Modality, *, fingerprint: bool) -> PayloadInfo | Rejected:
    if isinstance(item, Unchanged):
        return item.result
    if isinstance(item, Unreadable):
        return Rejected(item.reason, item.detail)
    try:
        info = modality.inspect(item.payload, fingerprint=fingerprint)
        return info._replace(identities=b"".join(modality.identities(item.payload)))
    except Rejected as rejected:
        return Rejected(rejected.reason, rejected.detail)  # A fresh one: the caught one's traceback holds the sample.
