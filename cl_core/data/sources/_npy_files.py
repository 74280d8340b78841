"""`.npy` files: mapped into memory, and what is refused of them."""

import stat
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_core.data.path_roots import confined
from cl_core.data.sources._listing import is_lfs_pointer
from cl_core.errors import DataError
from cl_core.modalities.vector import MAX_VALUES

LOCATION = "data.location"

_SHOWN = 200
_MAGIC = b"\x93NUMPY"
_ZIP = b"PK\x03\x04"
_NUMBERS = "biuf"  # Kinds of types, as NumPy writes them.
# What NumPy raises for headers that are damaged, and for files that are shorter than their header says.
_DAMAGED = (ValueError, TypeError, OverflowError, SyntaxError, TokenError, MemoryError, RecursionError, OSError)


def mapped_file(path: Path, field: str) -> NDArray[Any]:
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


def values_of(path: Path) -> NDArray[Any]:
    """Map an array of values, (N, ...).

    Raises:
        DataError: When it is no array of numbers with rows, or the rows have too many values.
    """
    array = mapped_file(path, LOCATION)
    if array.dtype.kind not in _NUMBERS:
        raise DataError(
            f"{LOCATION}: {path} holds {type_name(array)}; wanted whole numbers, booleans or floats; convert it, for "
            "example with .astype('float32')"
        )
    if array.ndim == 0 or array.size == 0:
        what = "a single number" if array.ndim == 0 else f"no values, its shape is {array.shape}"
        raise DataError(f"{LOCATION}: {path} holds {what}; wanted (N, ...), a row for each sample")
    if (width := width_of(array)) > MAX_VALUES:
        raise DataError(
            f"{LOCATION}: the rows of {path} have {width:,} values each; at most {MAX_VALUES:,} are read, so reduce "
            "them, or choose another modality"
        )
    return array


def type_name(array: NDArray[Any]) -> str:
    """Return the type of an array's values, for people."""
    return f"{array.dtype} (a structured type)" if array.dtype.names else f"{array.dtype}"


def width_of(array: NDArray[Any]) -> int:
    """Return the number of values of a row."""
    return array.size // len(array)
