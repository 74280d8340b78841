"""Files of pairs of texts that people have rated: two texts and a number in each row."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cl_core.data.sources._parquet_files import TableFile
from cl_core.data.sources._text_rows import has_columns, text_rows, text_schema
from cl_core.errors import DataError
from cl_core.modalities import Rejected
from cl_core.modalities._text_payloads import text_of_payload

_LEAST, _MOST = 3, 100_000


class RatedPairs(NamedTuple):
    """Pairs of texts, and how alike people find them."""

    first: list[bytes]
    second: list[bytes]
    ratings: NDArray[np.float64]  # (N,), higher for texts that are more alike.


def read_rated_pairs(path: Path, *, first: str, second: str, rating: str, field: str) -> RatedPairs:
    """Read the columns of a table or of JSON lines.

    Args:
        path: CSV, TSV, Parquet or JSON lines.
        first: Column of one text.
        second: Column of the other.
        rating: Column of the numbers.
        field: Of the spec, for messages: `FIELD.pairs`, `FIELD.first_column` and so on.

    Raises:
        DataError: When it does not hold rated pairs of texts; the message names the row.
    """
    names = {"first_column": first, "second_column": second, "rating_column": rating}
    if len(set(names.values())) < len(names):
        raise DataError(f"{field}: {', '.join(f'{option} is {name!r}' for option, name in names.items())}; name three")
    file = TableFile(path, (path.name,))
    if not path.is_file() or not has_columns(file):
        what = "has no columns" if path.is_file() else "is no file"
        raise DataError(f"{field}.pairs: {path} {what}; give CSV, TSV, Parquet or JSON lines with rated pairs")
    options = {name: f"{field}.{option}" for option, name in names.items()}
    for name, option in options.items():
        text_schema(file, name, option)
    found: list[tuple[bytes, bytes, float]] = []
    for number, row in text_rows(file, {name: options[name] for name in (first, second)}, [rating]):
        where = f"{field}.pairs: row {number} of {path}"
        if isinstance(row, str):
            raise DataError(f"{where}: {row}; correct the row, or remove it")
        found.append((_text(row[first], first, where), _text(row[second], second, where), _number(row[rating], where)))
        if len(found) > _MOST:
            raise DataError(f"{field}.pairs: {path} has more than {_MOST:,} pairs; give a part of them")
    ratings = np.array([rated for _, _, rated in found], np.float64)
    if len(found) < _LEAST or len(np.unique(ratings)) < 2:
        raise DataError(
            f"{field}.pairs: {path} has {len(found)} pairs with {len(np.unique(ratings))} different ratings; a rank "
            f"correlation needs {_LEAST} pairs or more, and ratings that differ"
        )
    return RatedPairs([one for one, _, _ in found], [other for _, other, _ in found], ratings)


def _text(value: bytes | None, column: str, where: str) -> bytes:
    try:
        text_of_payload(value or b"")
    except Rejected as rejection:
        raise DataError(f"{where}: column {column!r}: {rejection.detail}; correct the row, or remove it") from rejection
    return value or b""


def _number(value: str | None, where: str) -> float:
    try:
        rated = float(value or "")
    except ValueError:
        rated = math.nan
    if not math.isfinite(rated):
        raise DataError(f"{where}: the rating is {value!r}, not a number; correct the row, or remove it")
    return rated
