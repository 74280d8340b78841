"""Columns as files: `.npy`, written row by row and mapped into memory."""

import io
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray


class ColumnWriter:
    """Write the rows of a column one after another into a `.npy` file; `shape` is that of a row."""

    def __init__(self, path: Path, *, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._dtype, self._shape, self._rows = np.dtype(dtype).newbyteorder("<"), shape, 0
        self._file: io.BufferedWriter = path.open("wb")
        self._write_header()

    def add(self, rows: NDArray[Any]) -> None:
        """Append (n, ...) rows."""
        self._rows += len(rows)
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)

    def _write_header(self) -> None:
        # NumPy leaves room in a header for a larger number of rows.
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._rows, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._file:
            if error is None:
                self._file.seek(0)
                self._write_header()


def mapped(path: Path) -> NDArray[Any]:
    """Return the array of a `.npy` file, read-only; its bytes are read when they are used."""
    values: NDArray[Any] = np.load(path, mmap_mode="r")
    return values.view(np.ndarray)
