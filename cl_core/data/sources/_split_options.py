"""Splits of the rows of tables: by a column, by the names of the files of a split, or by their paths."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol

from cl_core.data.sources._parquet_files import TableFile
from cl_core.data.sources._path_splits import PathSplits, path_splits
from cl_core.errors import DataError

_LISTED = 10


class SplitOptions(Protocol):
    """The options of a source of tables that decide the split."""

    @property
    def split_from(self) -> str:
        """`auto`, `column`, `folder`, `file_name` or `none`."""

    @property
    def split_column(self) -> str:
        """Column with the split; empty without one."""

    @property
    def test_files(self) -> str:
        """Pattern of the names of the files that are the test split; empty without one."""

    @property
    def train_value(self) -> str:
        """Value of the column for training."""

    @property
    def test_value(self) -> str:
        """Value of the column for testing."""


def check_split_options(options: SplitOptions) -> None:
    """Refuse options that contradict one another, or that would not be read.

    Raises:
        ValueError: With the options' names.
    """
    if options.test_files and options.split_column:
        raise ValueError(
            f"test_files {options.test_files!r} and split_column {options.split_column!r} would both decide the "
            "split; leave one of them empty"
        )
    for option, way in {"split_column": "column", "test_files": "file_name"}.items():
        if (value := getattr(options, option)) and options.split_from not in ("auto", way):
            ignored = f"{option} {value!r} would not be read with split_from {options.split_from!r}"
            raise ValueError(f"{ignored}; leave one of them out")
    if options.split_from == "column" and not options.split_column:
        raise ValueError("split_from 'column' needs the name of the column; set split_column")


def splits_of_files(options: SplitOptions, files: Sequence[TableFile], root: Path) -> PathSplits:
    """Return what the paths of files say about splits, unless other options decide.

    Raises:
        DataError: When `test_files` names none of them, or `path_splits` does not find what is asked for.
    """
    if options.test_files and not any(fnmatch(file.path.name, options.test_files) for file in files):
        raise DataError(
            f"source_options.test_files: no file below {root} is named {options.test_files!r}; there are: "
            f"{', '.join(file.name for file in files[:_LISTED])}"
        )
    if options.test_files or options.split_column or options.split_from == "none":
        return PathSplits()
    return path_splits([file.parts for file in files], options.split_from, root)


def split_of_row(options: SplitOptions, value: Any, path: Path, origin: str) -> str:
    """Return the split of a row by its file's name or its value in the column; empty where neither decides.

    Raises:
        DataError: When the value is none of the two.
    """
    if options.test_files:
        return "test" if fnmatch(path.name, options.test_files) else "train"
    if not options.split_column:
        return ""
    if str(value) == options.train_value:
        return "train"
    if str(value) == options.test_value:
        return "test"
    raise DataError(
        f"{origin}: column {options.split_column!r} is {value!r}; expected {options.train_value!r} or "
        f"{options.test_value!r} (source_options.train_value, source_options.test_value)"
    )
