"""Necklaces: a clasp of three measures, and a string of beads. Two necklaces with the same beads are the same thing."""

import hashlib
from typing import ClassVar

import numpy as np
from markupsafe import Markup, escape

from cl_core.modalities import ArraySpec, ColumnKind, Modality, PayloadInfo, Preview, Rejected, Specs, joined
from cl_core.registry import MODALITIES
from their_beads.modality import MOST, BeadProfiler, beads_of

MEASURES = 3


@MODALITIES.register("necklace")
class Necklaces(Modality):
    """Two columns, one fixed and one ragged; encoders take both side by side."""

    columns: ClassVar[tuple[ColumnKind, ...]] = (
        ColumnKind("clasp", "float32", "(N, 3)"),
        ColumnKind("bead", "uint8", "(N, 12)", ragged=True, identifies=True),
    )
    unit: ClassVar[str] = "necklace"
    query: ClassVar[str] = "a text file with three numbers and the beads"
    baseline: ClassVar[str] = "clasp_and_bead_counts"
    evaluation_views: ClassVar[str] = "dacl_mixup"

    def inspect(self, payload: bytes, *, fingerprint: bool) -> PayloadInfo:
        _, beads = self._decoded(payload)
        return PayloadInfo(hashlib.sha256(payload).digest(), "text", bytes([len(beads)]), None)

    def profiler(self) -> BeadProfiler:
        return BeadProfiler()

    def array_specs(self, content) -> Specs:
        return ArraySpec("float32", (MEASURES,)), ArraySpec("uint8", (MOST,))

    def known_arrays(self) -> Specs:
        return self.array_specs({})

    def describe(self, arrays: Specs) -> str:
        clasp, beads = arrays
        return f"necklaces with {clasp.shape[0]} measures and at most {beads.shape[0]} beads"

    def taking(self, arrays: Specs) -> "Necklaces":
        if super().taking(arrays).known_arrays() != arrays:
            raise ValueError(f"it takes {arrays}")
        return self

    def decode(self, payload: bytes, arrays: Specs):
        return self._decoded(payload)

    def fit_processor(self, train, content):
        from their_beads.processor import NecklaceProcessor

        clasps, beads = train.columns.take(slice(None))
        counts = np.bincount(beads.ravel(), minlength=256)
        shares = counts / counts[1:].sum()
        shares[0] = -1
        return NecklaceProcessor(clasps.mean(axis=0), clasps.std(axis=0), shares.astype(np.float32))

    def processor(self, arrays: Specs, state):
        from their_beads.processor import NecklaceProcessor

        return NecklaceProcessor(*(state[name].numpy() for name in ("mean", "std", "beads.weights")))

    def example_processor(self, arrays: Specs):
        from their_beads.processor import NecklaceProcessor

        ones = np.ones(MEASURES, np.float32)
        return NecklaceProcessor(0 * ones, ones, np.full(256, 1 / 256, np.float32))

    def baseline_features(self, rows, processor):
        clasps, beads = rows
        counts = np.stack([np.bincount(row, minlength=128)[1:] for row in beads])
        return np.concatenate([clasps, counts], axis=1).astype(np.float32)

    def preview(self, row, *, side: int) -> Preview:
        clasp, beads = row
        text = f"{clasp.tolist()} {beads[beads > 0].tobytes().decode()}"
        return Preview(Markup("<code>{}</code>").format(escape(text)), text)

    def preview_payload(self, payload: bytes, *, side: int) -> Preview:
        return self.preview(self._decoded(payload), side=side)

    def payload_of(self, file: bytes) -> bytes:
        try:
            *measures, beads = file.split()
            return necklace_payload(np.array(measures, float), beads)
        except ValueError as error:
            raise Rejected("damaged", f"it is no line of numbers and beads: {error}") from error

    def _decoded(self, payload: bytes):
        clasp, beads = self.parts(payload)
        if len(clasp) != 4 * MEASURES:
            raise Rejected("other_length", f"a clasp has {MEASURES} measures, and this one {len(clasp)} bytes")
        measures = np.frombuffer(clasp, "<f4")
        if not np.isfinite(measures).all():
            raise Rejected("infinite", "a measure is no finite number")
        return measures, np.frombuffer(beads_of(beads), np.uint8)


def necklace_payload(measures, beads: bytes) -> bytes:
    return joined((np.asarray(measures, "<f4").tobytes(), beads))
