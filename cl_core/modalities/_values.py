"""What a modality says of its columns, arrays and samples."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from markupsafe import Markup


class ColumnKind(NamedTuple):
    """A column of a snapshot and of its cache: one part of each sample."""

    name: str  # What a part is called, such as image; its plural has an s. Not id, label, group or identity.
    dtype: str  # Of a value of a decoded part, such as uint8.
    layout: str  # Shape of N decoded parts in letters, such as (N, H, W, C).
    # Whether arrays differ in length: the first side of a shape is that of the longest, to which others are padded.
    ragged: bool = False
    identifies: bool = False  # Whether samples in which it has the same bytes are the same thing.


class ArraySpec(NamedTuple):
    """A decoded part of a payload: what is cached, and what a registered model takes."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        import numpy as np  # Reading a version's tags does not need it.

        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


Specs = tuple[ArraySpec, ...]
"""Those of a whole payload: one for each column, in their order."""


class Preview(NamedTuple):
    """A sample as a person sees it."""

    html: "Markup"  # Self-contained: it loads nothing.
    text: str  # One line.


class Profiler(Protocol):
    """Adds up the measures of a snapshot's samples; the result does not depend on their order."""

    def add(self, split: str, measures: bytes) -> None:
        """Count one distinct sample."""

    def profile(self) -> dict[str, Any]:
        """Return the fields of the snapshot's profile that the modality knows."""
