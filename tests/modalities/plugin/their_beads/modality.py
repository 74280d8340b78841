"""Strings of beads: each bead is a printable character, and a string has at most twelve."""

import hashlib
from collections import Counter
from typing import ClassVar

import numpy as np
from markupsafe import Markup, escape
from pydantic import Field

from cl_core.modalities import ArraySpec, ColumnKind, Modality, PayloadInfo, Preview, Rejected, Specs
from cl_core.registry import MODALITIES

MOST = 12


@MODALITIES.register("beads")
class Beads(Modality):
    """Strings of beads, padded with zeros; encoders take how unusual each bead is, and its code."""

    columns: ClassVar[tuple[ColumnKind, ...]] = (ColumnKind("string", "uint8", "(N, 12)", ragged=True),)
    unit: ClassVar[str] = "string"
    query: ClassVar[str] = "a text file"
    baseline: ClassVar[str] = "bead_counts"
    evaluation_views: ClassVar[str] = "dacl_mixup"
    hidden_options: ClassVar[tuple[str, ...]] = ("upper_case",)

    upper_case: bool = Field(False, title="Upper case")
    """Whether small and capital letters are one bead."""

    def inspect(self, payload: bytes, *, fingerprint: bool) -> PayloadInfo:
        beads = beads_of(payload)
        return PayloadInfo(hashlib.sha256(payload).digest(), "text", bytes([len(beads)]), None)

    def profiler(self) -> "BeadProfiler":
        return BeadProfiler()

    def array_specs(self, content) -> Specs:
        return (ArraySpec("uint8", (MOST,)),)

    def known_arrays(self) -> Specs:
        return self.array_specs({})

    def describe(self, arrays: Specs) -> str:
        return f"strings of at most {arrays[0].shape[0]} beads"

    def taking(self, arrays: Specs) -> "Beads":
        if arrays != self.known_arrays():
            raise ValueError(f"it takes {arrays}")
        return self

    def decode(self, payload: bytes, arrays: Specs):
        text = beads_of(payload)
        return (np.frombuffer(text.upper() if self.upper_case else text, np.uint8),)

    def fit_processor(self, train, content):
        from their_beads.processor import BeadProcessor

        counts = sum(np.bincount(rows.ravel(), minlength=256) for rows in train.column.blocks(64))
        shares = counts / counts[1:].sum()
        shares[0] = -1
        return BeadProcessor(shares.astype(np.float32))

    def processor(self, arrays: Specs, state):
        from their_beads.processor import BeadProcessor

        return BeadProcessor(state["weights"].numpy())

    def example_processor(self, arrays: Specs):
        from their_beads.processor import BeadProcessor

        return BeadProcessor(np.full(256, 1 / 256, np.float32))

    def baseline_features(self, rows, processor):
        return np.stack([np.bincount(row, minlength=128)[1:] for row in rows[0]]).astype(np.float32)

    def preview(self, row, *, side: int) -> Preview:
        text = row[0][row[0] > 0].tobytes().decode()
        return Preview(Markup("<code>{}</code>").format(escape(text)), text)

    def preview_payload(self, payload: bytes, *, side: int) -> Preview:
        text = beads_of(payload).decode()
        return Preview(Markup("<code>{}</code>").format(escape(text)), text)


class BeadProfiler:
    def __init__(self) -> None:
        self._lengths: Counter[int] = Counter()

    def add(self, split: str, measures: bytes) -> None:
        self._lengths[measures[0]] += 1

    def profile(self):
        return {"lengths": {str(length): count for length, count in sorted(self._lengths.items())}}


def beads_of(payload: bytes) -> bytes:
    if not payload:
        raise Rejected("empty", "it has no beads")
    if len(payload) > MOST:
        raise Rejected("too_large", f"it has {len(payload)} beads, at most {MOST} are read")
    if not all(32 < bead < 127 for bead in payload):
        raise Rejected("damaged", "a bead is no printable character")
    return payload
