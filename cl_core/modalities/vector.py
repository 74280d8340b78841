"""Vectors: rows of numbers, such as the columns of a table, or what another model computed."""

import hashlib
import struct
from collections import Counter
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from cl_core.errors import DataError
from cl_core.modalities import ArraySpec, ColumnKind, Modality, PayloadInfo, Preview, Rejected, Specs
from cl_core.registry import MODALITIES

if TYPE_CHECKING:
    from torch import Tensor

    from cl_core.columns import Rows, Split
    from cl_core.modalities._processor import Processor
    from cl_core.modalities._vector_processor import VectorProcessor

MAX_VALUES = 1 << 16
"""Values of a vector."""

_TYPE = np.dtype("<f4")
# Values, and how many of them are missing.
_MEASURES = struct.Struct("=ii")
_NPY = b"\x93NUMPY"
_DRAWN_VALUES = 64
_NAMED_VALUES = 4
_ROWS_AT_ONCE = 4096
_LINE = Markup('<svg class="line" viewBox="0 0 {} 32" preserveAspectRatio="none" width="{}"><path d="{}"/></svg>')


@MODALITIES.register("vector")
class Vectors(Modality):
    """Vectors of one length; a value may be missing. A payload is its values as little-endian float32, NaN missing."""

    columns: ClassVar[tuple[ColumnKind, ...]] = (ColumnKind("vector", "float32", "(N, values)"),)
    unit: ClassVar[str] = "vector"
    query: ClassVar[str] = "a .npy or .csv file with one row of numbers"
    baseline: ClassVar[str] = "standardized_values"
    evaluation_views: ClassVar[str] = "scarf"

    def inspect(self, payload: bytes, *, fingerprint: bool) -> PayloadInfo:
        """Count the values of a vector, and those that are missing; see `Modality`."""
        del fingerprint
        values = _values(payload)
        measures = _MEASURES.pack(len(values), int(np.isnan(values).sum()))
        return PayloadInfo(hashlib.sha256(payload).digest(), "float32", measures, None)

    def profiler(self) -> "VectorProfiler":
        """Return a profiler of lengths and missing values; see `Modality`."""
        return VectorProfiler()

    def array_specs(self, content: Mapping[str, Any]) -> Specs:
        """Return (values,) float32.

        Raises:
            DataError: When the vectors have several lengths.
        """
        if content["lengths"] > 1:
            raise DataError(
                f"data.source: the vectors have {content['lengths']:,} different lengths, most of them "
                f"{content['values']:,} values; one length is expected, so correct the source"
            )
        return (ArraySpec("float32", (content["values"],)),)

    def describe(self, arrays: Specs) -> str:
        """Return the length, such as: vectors of 784 values."""
        ((_, (values,)),) = arrays
        return f"vectors of {values:,} values"

    def taking(self, arrays: Specs) -> "Vectors":
        """Return the modality itself; see `Modality`."""
        if [(dtype, len(shape)) for dtype, shape in arrays] != [("float32", 1)]:
            raise ValueError(f"it takes {' and '.join(f'{dtype} {shape}' for dtype, shape in arrays)}, no vectors")
        return self

    def decode(self, payload: bytes, arrays: Specs) -> "Rows":
        """Return the values; see `Modality`."""
        values, (array,) = _values(payload), arrays
        if values.shape != array.shape:
            raise Rejected("other_length", f"it has {len(values):,} values, and the others have {array.shape[0]:,}")
        return (values,)

    def fit_processor(self, train: "Split", content: Mapping[str, Any]) -> "VectorProcessor":
        """Return the standardization by mean and std of each value over the training split, missing ones left out.

        Two passes in float64, in the order of the ids: the result does not depend on processes or blocks of a file.
        """
        from cl_core.modalities._vector_processor import VectorProcessor

        column = train.column
        (values,) = column.shape
        counts, sums, squares = (np.zeros(values) for _ in range(3))
        for rows in column.blocks(_ROWS_AT_ONCE):
            counts += (~np.isnan(rows)).sum(axis=0)
            sums += np.nansum(rows, axis=0, dtype=np.float64)
        mean = sums / np.maximum(counts, 1)
        for rows in column.blocks(_ROWS_AT_ONCE):
            squares += np.nansum(np.square(rows.astype(np.float64) - mean), axis=0)
        std = np.sqrt(squares / np.maximum(counts, 1))
        return VectorProcessor(
            mean.astype(np.float32),
            # A value that never changes says nothing; divided by 1, it is 0 for all of the training split.
            np.where(std > 0, std, 1).astype(np.float32),
            masked=bool((counts < len(column)).any()),
            columns=_columns_of_values(content, values),
        )

    def processor(self, arrays: Specs, state: Mapping[str, "Tensor"]) -> "VectorProcessor":
        """Return the standardization that `state` describes.

        Raises:
            ValueError: When it is of vectors of another length.
        """
        from cl_core.modalities._vector_processor import VectorProcessor

        mean, std = (state[name].numpy() for name in ("mean", "std"))
        columns = state["columns"].numpy() if "columns" in state else None
        (array,) = arrays
        if mean.shape != array.shape:
            raise ValueError(f"it is of vectors of {len(mean):,} values, and these have {array.shape[0]:,}")
        return VectorProcessor(mean, std, masked=bool(state["masked"]), columns=columns)

    def example_processor(self, arrays: Specs) -> "VectorProcessor":
        """Return a standardization that changes nothing."""
        from cl_core.modalities._vector_processor import VectorProcessor

        (array,) = arrays
        return VectorProcessor(np.zeros(array.shape, np.float32), np.ones(array.shape, np.float32), masked=False)

    def baseline_features(self, rows: "Rows", processor: "Processor") -> NDArray[np.float32]:
        """Return the standardized values, 0 where they are missing."""
        import torch

        with torch.inference_mode():
            features: NDArray[np.float32] = processor(tuple(map(torch.from_numpy, rows))).numpy()
        return features

    def preview(self, row: "Rows", *, side: int) -> Preview:
        """Return the values as a line, from the least to the greatest; of many the means of neighbors."""
        (values,) = row
        parts = np.array_split(values.astype(np.float64), min(len(values), _DRAWN_VALUES))
        means = np.array([np.nanmean(part) if not np.isnan(part).all() else np.nan for part in parts])
        named = ", ".join(f"{value:.4g}" for value in values[:_NAMED_VALUES])
        text = named + (f", ... ({len(values):,} values)" if len(values) > _NAMED_VALUES else "")
        return Preview(_LINE.format(max(1, len(means) - 1), side, _path(means)), text)

    def preview_payload(self, payload: bytes, *, side: int) -> Preview:
        """Return the values as a line."""
        return self.preview((_values(payload),), side=side)

    def payload_of(self, file: bytes) -> bytes:
        """Return the one row of a `.npy` or `.csv` file."""
        try:
            if file.startswith(_NPY):
                values = np.load(BytesIO(file), allow_pickle=False)
            else:
                values = np.loadtxt(BytesIO(file), delimiter=",", ndmin=2, max_rows=2, converters=_number)
            row = np.asarray(values, np.float64).astype(_TYPE)
        except (ValueError, EOFError, OSError, UnicodeDecodeError) as error:
            raise Rejected("damaged", f"it holds no row of numbers: {error}") from error
        if row.ndim > 1 and row.shape[0] != 1:
            raise Rejected("damaged", f"it holds an array of the shape {row.shape}, not one row")
        return row.tobytes()

    def facts(self, content: Mapping[str, Any]) -> dict[str, str]:
        """Return the number of values, their names, and how many are missing."""
        names = content.get("columns", [])
        more = f" and {len(names) - _DRAWN_VALUES:,} more" if len(names) > _DRAWN_VALUES else ""
        facts = {"values of a vector": f"{content['values']:,}", "missing values": f"{content['missing']:.2%}"}
        return facts | ({"columns": ", ".join(names[:_DRAWN_VALUES]) + more} if names else {})


class VectorProfiler:
    """Counts lengths and missing values."""

    def __init__(self) -> None:
        self._lengths: Counter[int] = Counter()
        self._missing = 0

    def add(self, split: str, measures: bytes) -> None:
        """Count one distinct vector."""
        del split
        values, missing = _MEASURES.unpack(measures)
        self._lengths[values] += 1
        self._missing += missing

    def profile(self) -> dict[str, Any]:
        """Return the most frequent length, and the share of missing values."""
        total = sum(values * count for values, count in self._lengths.items())
        return {
            "values": max(self._lengths, key=lambda values: (self._lengths[values], values), default=0),
            "lengths": len(self._lengths),
            "missing": self._missing / max(1, total),
        }


def _columns_of_values(content: Mapping[str, Any], values: int) -> NDArray[np.int64] | None:
    """Return (values,) which column each value is of; None where each is a column, or the source does not say."""
    widths = content.get("column_widths", [])
    return np.repeat(np.arange(len(widths)), widths) if sum(widths) == values else None


def _values(payload: bytes) -> NDArray[np.float32]:
    """Return the values of a payload.

    Raises:
        Rejected: When it has none, too many, or an infinite one, ends within one, or all are missing.
    """
    if not payload:
        raise Rejected("empty", "it has no values")
    if len(payload) % _TYPE.itemsize:
        raise Rejected("damaged", f"its {len(payload):,} bytes are no whole number of float32 values")
    if len(payload) > MAX_VALUES * _TYPE.itemsize:
        raise Rejected(
            "too_large", f"it has {len(payload) // _TYPE.itemsize:,} values, at most {MAX_VALUES:,} are read"
        )
    row = np.frombuffer(payload, _TYPE)
    if (infinite := np.isinf(row)).any():
        raise Rejected("infinite", f"value {int(np.argmax(infinite))} of {len(row)} is infinite")
    if np.isnan(row).all():
        raise Rejected("no_values", f"all {len(row)} values are missing")
    return row


def _number(text: str) -> float:
    """Return the number in a field of a `.csv` file; nothing is a missing value."""
    return float(text) if text.strip() else np.nan


def _path(values: NDArray[np.float64]) -> str:
    """Return values as an SVG path, 32 high, with gaps where they are missing."""
    if np.isnan(values).all():
        return ""
    least, span = np.nanmin(values), np.nanmax(values) - np.nanmin(values)
    heights = 31 - 30 * (values - least) / span if span > 0 else np.where(np.isnan(values), np.nan, 16.0)
    drawn, pen = [], "M"
    for place, height in enumerate(heights.tolist()):
        if height != height:  # Missing.
            pen = "M"
        else:
            drawn.append(f"{pen}{place} {height:.1f}")
            pen = "L"
    return "".join(drawn)
