"""Strings of beads: each bead is a printable character, and a string has at most twelve."""

import hashlib
from collections import Counter
from typing import ClassVar

import numpy as np
from markupsafe import Markup, escape
from pydantic import Field

from cl_core.modalities import ArraySpec, Modality, PayloadInfo, Preview, Rejected
from cl_core.registry import MODALITIES

MOST = 12


@MODALITIES.register("beads")
class Beads(Modality):
    """Strings of beads, padded with zeros; encoders take how unusual each bead is, and its code."""

    columns: ClassVar[tuple[str, ...]] = ("beads",)
    dtype: ClassVar[str] = "uint8"
    layout: ClassVar[str] = "(N, 12)"
    unit: ClassVar[str] = "string"
    query: ClassVar[str] = "a text file"
    baseline: ClassVar[str] = "bead_counts"
    evaluation_views: ClassVar[str] = "dacl_mixup"
    ragged: ClassVar[bool] = True
    hidden_options: ClassVar[tuple[str, ...]] = ("upper_case",)

    upper_case: bool = Field(False, title="Upper case")
    """Whether small and capital letters are one bead."""

    def inspect(self, payload: bytes, *, fingerprint: bool) -> PayloadInfo:
        beads = _beads(payload)
        return PayloadInfo(hashlib.sha256(payload).digest(), "text", bytes([len(beads)]), None)

    def profiler(self) -> "BeadProfiler":
        return BeadProfiler()

    def array_spec(self, content):
        return ArraySpec(self.dtype, (MOST,))

    def known_array(self):
        return ArraySpec(self.dtype, (MOST,))

    def describe(self, array: ArraySpec) -> str:
        return f"strings of at most {array.shape[0]} beads"

    def taking(self, array: ArraySpec) -> "Beads":
        if array != self.known_array():
            raise ValueError(f"it takes {array.dtype} of the shape {array.shape}")
        return self

    def decode(self, payload: bytes, array: ArraySpec):
        text = _beads(payload)
        return np.frombuffer(text.upper() if self.upper_case else text, np.uint8)

    def fit_processor(self, train, content):
        from their_beads.processor import BeadProcessor

        counts = sum(np.bincount(rows.ravel(), minlength=256) for rows in train.column.blocks(64))
        shares = counts / counts[1:].sum()
        shares[0] = -1
        return BeadProcessor(shares.astype(np.float32))

    def processor(self, array: ArraySpec, state):
        from their_beads.processor import BeadProcessor

        return BeadProcessor(state["weights"].numpy())

    def example_processor(self, array: ArraySpec):
        from their_beads.processor import BeadProcessor

        return BeadProcessor(np.full(256, 1 / 256, np.float32))

    def baseline_features(self, rows, processor):
        return np.stack([np.bincount(row, minlength=128)[1:] for row in rows]).astype(np.float32)

    def preview(self, row, *, side: int) -> Preview:
        text = row[row > 0].tobytes().decode()
        return Preview(Markup("<code>{}</code>").format(escape(text)), text)

    def preview_payload(self, payload: bytes, *, side: int) -> Preview:
        text = _beads(payload).decode()
        return Preview(Markup("<code>{}</code>").format(escape(text)), text)


class BeadProfiler:
    def __init__(self) -> None:
        self._lengths: Counter[int] = Counter()

    def add(self, split: str, measures: bytes) -> None:
        self._lengths[measures[0]] += 1

    def profile(self):
        return {"lengths": {str(length): count for length, count in sorted(self._lengths.items())}}


def _beads(payload: bytes) -> bytes:
    if not payload:
        raise Rejected("empty", "it has no beads")
    if len(payload) > MOST:
        raise Rejected("too_large", f"it has {len(payload)} beads, at most {MOST} are read")
    if not all(32 < bead < 127 for bead in payload):
        raise Rejected("damaged", "a bead is no printable character")
    return payload
