"""Arrays of NumPy: `.npy` files of numbers, a row for each sample."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from pathlib import Path
from tokenize import TokenError
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import PrivateAttr

from cl_core.data.path_roots import confined
from cl_core.data.sources import RawSample, Source, unchanged
from cl_core.data.sources._listing import counted, entries, fingerprint_of, is_folder, is_lfs_pointer, text_of
from cl_core.data.sources._path_splits import path_splits, split_meaning
from cl_core.data.sources._vectors import EXACT, LOST_DIGITS, payloads_of, rows_at_once
from cl_core.errors import DataError
from cl_core.modalities.vector import MAX_VALUES
from cl_core.registry import SOURCES

_LOCATION = "data.location"
_LABELS = "source_options.labels"
_SPLIT = "{split}"
_DEFAULT_LABELS = "{split}_labels.npy"
_UNLABELED = -1
_SUFFIX = ".npy"
_SHOWN = 200
_MAGIC = b"\x93NUMPY"
_ZIP = b"PK\x03\x04"
_NUMBERS, _NAMES = "biuf", "biuUS"  # Kinds of types, as NumPy writes them.
# An array in columns is read from all over the file for each block of rows, so its blocks are larger.
_BLOCKS_OF_COLUMNS = 16
# What NumPy raises for headers that are damaged, and for files that are shorter than their header says.
_DAMAGED = (ValueError, TypeError, OverflowError, SyntaxError, TokenError, MemoryError, RecursionError, OSError)


@SOURCES.register("npy")
class NumpyArrays(Source):
    """One `.npy` file of numbers, a row for each sample, or a folder with `train.npy` and `test.npy`.

    A row of several dimensions is flattened. Whole numbers, booleans and floats of any width become float32; NaN is a
    missing value. Without `test.npy` a file `val.npy` (or `valid`, `validation`) is the test split, beside it it is
    trained on. Files are mapped into memory and never read as a whole. Python objects (pickles) are refused.
    """

    modalities: ClassVar[tuple[str, ...]] = ("vector",)

    labels: str = ""
    """Name of the `.npy` file of labels beside the values: whole numbers, booleans or text, one for each row; -1 or
    empty text is no label. `{split}` in it is the name of the file of values without its suffix. Empty:
    `{split}_labels.npy`, where there is one, as in `train_labels.npy`."""

    _passed_over: Counter[str] = PrivateAttr(default_factory=Counter)
    _notes: list[str] = PrivateAttr(default_factory=list)

    def fingerprint(self, location: str) -> str:
        """Return a digest of the path and state of every file, those of labels included."""
        files = list(self._arrays(location))
        return fingerprint_of([*files, *(labels for file in files if (labels := self._labels_of(file)))])

    def samples(self, location: str) -> Iterator[RawSample]:
        """Yield every row of every file."""
        arrays = self._arrays(location)
        labels = {file: self._labels(file, len(array)) for file, array in arrays.items()}
        splits = path_splits([(file.name,) for file in arrays], "auto", Path(location))
        self._notes[:] = filter(None, [splits.note, self._labels_note(arrays)])
        for file, array in arrays.items():
            split, name = splits.split((file.name,)), text_of([file.name])
            for start, rows in _blocks(array):
                if LOST_DIGITS not in self._notes and _loses_digits(rows):
                    self._notes.append(LOST_DIGITS)
                names = repeat(None) if (given := labels[file]) is None else _names(given, start, len(rows), file)
                for row, (payload, label) in enumerate(zip(payloads_of(rows), names, strict=False), start):
                    yield RawSample(payload, label, split, f"{name}#{row}")

    def note(self, location: str) -> str:
        """Return which splits and labels were read, and whether whole numbers lost digits."""
        return "; ".join(self._notes)

    def passed_over(self) -> dict[str, int]:
        """Return how many files of the folder were passed over when it was last listed, by suffix."""
        return dict(sorted(self._passed_over.items()))

    def number_of_inputs(self, location: str) -> int:
        """Return the number of rows in the files' headers."""
        return sum(map(len, self._arrays(location).values()))

    def find(self, location: str, origins: Mapping[bytes, str]) -> dict[bytes, bytes]:
        """Read just these rows."""
        payloads: dict[bytes, bytes] = {}
        for file, array in self._arrays(location).items():
            name = text_of([file.name])
            named = (origin.rpartition("#") for origin in origins.values())
            rows = [int(row) for place, _, row in named if place == name and row.isdecimal()]
            wanted = [row for row in rows if row < len(array)]
            if wanted:
                payloads |= unchanged(payloads_of(array[wanted].reshape(len(wanted), -1)), origins)
        return payloads

    def _arrays(self, location: str) -> dict[Path, NDArray[Any]]:
        """Map the arrays of all files of values, by file; their rows have the same number of values."""
        arrays = {file: _values(file) for file in self._files(location)}
        (first, like), *others = arrays.items()
        for file, array in others:
            if (width := _width(array)) != _width(like):
                raise DataError(
                    f"{_LOCATION}: {file} has rows of {width:,} values, and {first.name} has rows of "
                    f"{_width(like):,}; write both alike"
                )
        return arrays

    def _files(self, location: str) -> list[Path]:
        """Return the file of values, or those of splits, by name; count what is passed over.

        Raises:
            DataError: When there is none.
        """
        self._passed_over.clear()
        if not location:
            raise DataError(f"{_LOCATION} is empty; give a .npy file, or a folder with train.npy and test.npy")
        root = confined(location, field=_LOCATION)
        if not os.path.isdir(root):  # noqa: PTH112 - `Path.is_dir` raises errors where folders are closed.
            return [root]
        present = [root / entry.name for entry in entries(root, self._passed_over) if not is_folder(entry)]
        files = [file for file in present if file.suffix.lower() == _SUFFIX and split_meaning(file.stem)]
        read = {*files, *(self._labels_of(file) for file in files)}
        self._passed_over.update(file.suffix.lower() or "no suffix" for file in present if file not in read)
        if not files:
            others = f"; {counted(self._passed_over)}" if self._passed_over else ""
            raise DataError(
                f"{_LOCATION}: {root} has no train.npy or test.npy{others}; give one .npy file, or name the files so"
            )
        if self.labels and _SPLIT not in self.labels and len(files) > 1:
            raise DataError(
                f"{_LABELS}: {self.labels!r} names one file for {len(files)} files of values; write {_SPLIT} in it, as "
                f"in {_DEFAULT_LABELS}"
            )
        return files

    def _labels_of(self, file: Path) -> Path | None:
        """Return the file of labels for a file of values; None where none is named and the default does not exist."""
        labels = file.parent / (self.labels or _DEFAULT_LABELS).replace(_SPLIT, file.stem)
        return labels if self.labels or os.path.lexists(labels) else None

    def _labels(self, file: Path, rows: int) -> NDArray[Any] | None:
        """Map the labels of a file of so many rows."""
        path = self._labels_of(file)
        if path is None:
            return None
        labels = _mapped(path, _LABELS)
        if labels.dtype.kind not in _NAMES:
            raise DataError(
                f"{_LABELS}: {path} holds {_type_name(labels)}; wanted whole numbers, booleans or text, one for each "
                "row; convert it, for example with .astype(int)"
            )
        if labels.ndim == 0 or labels.size != len(labels):
            raise DataError(
                f"{_LABELS}: {path} has the shape {labels.shape}; wanted one label for each row, ({rows},), such as "
                "the index of the class"
            )
        if len(labels) != rows:
            raise DataError(
                f"{_LABELS}: {path} has {len(labels):,} labels for the {rows:,} rows of {file.name}; write one for each"
            )
        return labels.reshape(-1)

    def _labels_note(self, files: Iterable[Path]) -> str:
        """Return which labels were read though no option names them."""
        found = [] if self.labels else [labels.name for file in files if (labels := self._labels_of(file))]
        return f"labels are those of {', '.join(found)}" if found else ""


def _mapped(path: Path, field: str) -> NDArray[Any]:
    """Map an array into memory; `field` is the option that names its file.

    Raises:
        DataError: When there is none, or it cannot be read.
    """
    confined(path, field=field)
    head = _head(path, field)
    if head != _MAGIC:
        raise DataError(f"{field}: {path} is {_what_instead(path, head)}")
    try:
        # A plain view of the map, since slices of `memmap` are slow to make.
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except _DAMAGED as error:
        if "Python objects" in str(error):
            raise DataError(
                f"{field}: {path} holds Python objects (a pickle), which could run any code; convert the array, for "
                "example with .astype('float32') or .astype(str), and save it again"
            ) from error
        problem = " ".join(str(error).split())[:_SHOWN]  # NumPy quotes the whole header.
        raise DataError(f"{field}: {path} is cut off or damaged ({problem}); save it again with numpy.save") from error


def _head(path: Path, field: str) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # Opening a pipe would wait for its writer.
            raise DataError(f"{field}: {path} is not a file; give a .npy file")
        with path.open("rb") as file:
            return file.read(len(_MAGIC))
    except FileNotFoundError as error:
        raise DataError(f"{field}: there is no file {path}; give a .npy file that exists") from error
    except OSError as error:
        raise DataError(
            f"{field}: {path} cannot be read ({error.strerror}); make it readable, or move it away"
        ) from error


def _what_instead(path: Path, head: bytes) -> str:
    if is_lfs_pointer(path):
        return "a pointer of Git LFS; run `git lfs pull`"
    if not head:
        return "empty; save the array again with numpy.save"
    if head.startswith(_ZIP):
        return "an .npz archive; save each of its arrays as a .npy file with numpy.save"
    return "no .npy file, by its first bytes; save the array with numpy.save"


def _values(path: Path) -> NDArray[Any]:
    """Map an array of values, (N, ...).

    Raises:
        DataError: When it is no array of numbers with rows, or the rows have too many values.
    """
    array = _mapped(path, _LOCATION)
    if array.dtype.kind not in _NUMBERS:
        raise DataError(
            f"{_LOCATION}: {path} holds {_type_name(array)}; wanted whole numbers, booleans or floats; convert it, for "
            "example with .astype('float32')"
        )
    if array.ndim == 0 or array.size == 0:
        what = "a single number" if array.ndim == 0 else f"no values, its shape is {array.shape}"
        raise DataError(f"{_LOCATION}: {path} holds {what}; wanted (N, ...), a row for each sample")
    if (width := _width(array)) > MAX_VALUES:
        raise DataError(
            f"{_LOCATION}: the rows of {path} have {width:,} values each; at most {MAX_VALUES:,} are read, so reduce "
            "them, or choose another modality"
        )
    return array


def _type_name(array: NDArray[Any]) -> str:
    return f"{array.dtype} (a structured type)" if array.dtype.names else f"{array.dtype}"


def _width(array: NDArray[Any]) -> int:
    return array.size // len(array)


def _blocks(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield blocks of rows, flattened to (n, D), each with the number of its first row."""
    rows = rows_at_once(_width(array))
    if not array.flags.c_contiguous:
        rows *= _BLOCKS_OF_COLUMNS
    for start in range(0, len(array), rows):
        block = array[start : start + rows]
        yield start, block.reshape(len(block), -1)


def _loses_digits(rows: NDArray[Any]) -> bool:
    return rows.dtype.kind in "iu" and bool(rows.max() > EXACT or rows.min() < -EXACT)


def _names(labels: NDArray[Any], start: int, rows: int, file: Path) -> Iterator[str | None]:
    """Yield the class of each of these rows; None where there is no label.

    Raises:
        DataError: When a label is not text in Unicode.
    """
    part = labels[start : start + rows]
    try:
        for value in part.tolist():
            text = value.decode() if isinstance(value, bytes) else str(value)
            text.encode()  # Lone surrogates could not be stored.
            yield None if value == _UNLABELED else text.strip() or None
    except (ValueError, SystemError) as error:  # The latter of NumPy, for numbers beyond Unicode.
        raise DataError(
            f"{_LABELS}: a label for rows {start:,} to {start + rows - 1:,} of {file.name} is no text in Unicode "
            f"({error}); write the labels again"
        ) from error
