"""Arrays of NumPy: `.npy` files of numbers, a row for each sample."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray
from pydantic import PrivateAttr

from cl_core.data.path_roots import confined
from cl_core.data.sources import RawSample, Source, unchanged
from cl_core.data.sources._listing import (
    counted,
    entries,
    fingerprint_of,
    is_folder,
    nothing_listed,
    passed_over_as,
    text_of,
)
from cl_core.data.sources._npy_files import LOCATION, mapped_file, type_name, values_of, width_of
from cl_core.data.sources._path_splits import path_splits, split_meaning
from cl_core.data.sources._vectors import EXACT, LOST_DIGITS, payloads_of, rows_at_once
from cl_core.errors import DataError
from cl_core.registry import SOURCES

_LABELS = "source_options.labels"
_SPLIT = "{split}"
_DEFAULT_LABELS = "{split}_labels.npy"
_UNLABELED = -1
_SUFFIX = ".npy"
_NAMES = "biuUS"  # Kinds of types, as NumPy writes them.
# An array in columns is read from all over the file for each block of rows, so its blocks are larger.
_BLOCKS_OF_COLUMNS = 16


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
            present = [row for row in rows if row < len(array)]
            if present:
                payloads |= unchanged(payloads_of(array[present].reshape(len(present), -1)), origins)
        return payloads

    def _arrays(self, location: str) -> dict[Path, NDArray[Any]]:
        """Map the arrays of all files of values, by file; their rows have the same number of values."""
        arrays = {file: values_of(file) for file in self._files(location)}
        (first, like), *others = arrays.items()
        for file, array in others:
            if (width := width_of(array)) != width_of(like):
                raise DataError(
                    f"{LOCATION}: {file} has rows of {width:,} values, and {first.name} has rows of "
                    f"{width_of(like):,}; write both alike"
                )
        return arrays

    def _files(self, location: str) -> list[Path]:
        """Return the file of values, or those of splits, by name; count what is passed over.

        Raises:
            DataError: When there is none.
        """
        self._passed_over.clear()
        if not location:
            raise DataError(f"{LOCATION} is empty; give a .npy file, or a folder with train.npy and test.npy")
        root = confined(location, field=LOCATION)
        if not os.path.isdir(root):  # noqa: PTH112 - `Path.is_dir` raises errors where folders are closed.
            return [root]
        kinds = {
            root / entry.name: passed_over_as(entry, {_SUFFIX}, lambda _: False)
            for entry in entries(root, self._passed_over)
            if not is_folder(entry)
        }
        files = [file for file, other in kinds.items() if not other and split_meaning(file.stem)]
        read = {*files, *(self._labels_of(file) for file in files)}
        self._passed_over.update(other or _SUFFIX for file, other in kinds.items() if file not in read)
        if not files:
            others = f"; {counted(self._passed_over)}" if self._passed_over else ""
            raise nothing_listed(
                root,
                self._passed_over,
                f"{LOCATION}: {root} has no train.npy or test.npy{others}; give one .npy file, or name the files so",
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
        labels = mapped_file(path, _LABELS)
        if labels.dtype.kind not in _NAMES:
            raise DataError(
                f"{_LABELS}: {path} holds {type_name(labels)}; wanted whole numbers, booleans or text, one for each "
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
        names = [] if self.labels else [labels.name for file in files if (labels := self._labels_of(file))]
        return f"labels are those of {', '.join(names)}" if names else ""


def _blocks(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield blocks of rows, flattened to (n, D), each with the number of its first row."""
    rows = rows_at_once(width_of(array))
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
