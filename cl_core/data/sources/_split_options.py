"""Splits of the rows of tables: by a column, by the names of the files of a split, or by their paths."""

from collections import Counter
from collections.abc import Sequence, Set
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from cl_core.data.sources import Source
from cl_core.data.sources._listing import fingerprint_of
from cl_core.data.sources._parquet_files import TableFile, table_files
from cl_core.data.sources._path_splits import PathSplits, path_splits
from cl_core.errors import DataError

_LISTED = 10


class SplitTables(Source):
    """A source of tables, with the options that decide the split."""

    other_suffixes: ClassVar[Set[str]] = frozenset()
    """Of files that are read beside Parquet."""
    expected_files: ClassVar[str] = "a Parquet file"
    """What a location should hold, for people."""

    split_from: Literal["auto", "column", "folder", "file_name", "none"] = "auto"
    """What names the split: `split_column`, folders such as `train` and `test`, file names that begin so, or nothing.
    `auto`: what other options say; else folders or file names if they tell two splits apart; else the content's
    hash."""
    split_column: str = ""
    """Column with the split."""
    test_files: str = ""
    """Pattern of the names of the files that are the test split, such as `test*`; all others are the training
    split."""
    train_value: str = Field("train", title="Training value")
    """Value of the split column for training."""
    test_value: str = "test"
    """Value of the split column for testing."""

    _group_column: str = PrivateAttr("")
    _passed_over: Counter[str] = PrivateAttr(default_factory=Counter)
    _notes: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _one_thing_decides_the_split(self) -> Self:
        """Refuse options that contradict one another, or that would not be read."""
        if self.test_files and self.split_column:
            raise ValueError(
                f"test_files {self.test_files!r} and split_column {self.split_column!r} would both decide the split; "
                "leave one of them empty"
            )
        for option, way in {"split_column": "column", "test_files": "file_name"}.items():
            if (value := getattr(self, option)) and self.split_from not in ("auto", way):
                ignored = f"{option} {value!r} would not be read with split_from {self.split_from!r}"
                raise ValueError(f"{ignored}; leave one of them out")
        if self.split_from == "column" and not self.split_column:
            raise ValueError("split_from 'column' needs the name of the column; set split_column")
        return self

    def fingerprint(self, location: str) -> str:
        """Return a digest of the path and state of every file."""
        return fingerprint_of(file.path for file in self._files(location))

    def note(self, location: str) -> str:
        """Return how splits and columns were read when the files were last read."""
        return "; ".join(filter(None, self._notes))

    def passed_over(self) -> dict[str, int]:
        """Return how many files the last listing passed over: by suffix, or by name where a system has made them."""
        return dict(sorted(self._passed_over.items()))

    def grouped_by(self, column: str) -> Self:
        """Read this column, too: text, numbers or dates."""
        copy = self.model_copy()
        copy._group_column = column
        return copy

    def columns_beside(self, label_column: str) -> dict[str, str]:
        """Return the options that name columns beside what a sample is, by column."""
        columns = {
            label_column: "source_options.label_column",
            self.split_column: "source_options.split_column",
            self._group_column: "data.group",
        }
        return {name: option for name, option in columns.items() if name}

    def splits_of(self, files: Sequence[TableFile], root: Path) -> PathSplits:
        """Return what the paths of files say about splits, unless other options decide.

        Raises:
            DataError: When `test_files` names none of them, or `path_splits` does not find what is asked for.
        """
        if self.test_files and not any(fnmatch(file.path.name, self.test_files) for file in files):
            raise DataError(
                f"source_options.test_files: no file below {root} is named {self.test_files!r}; there are: "
                f"{', '.join(file.name for file in files[:_LISTED])}"
            )
        if self.test_files or self.split_column or self.split_from == "none":
            return PathSplits()
        return path_splits([file.parts for file in files], self.split_from, root)

    def split_of_row(self, value: Any, path: Path, origin: str) -> str:
        """Return the split of a row by its file's name or its value in the column; empty where neither decides.

        Raises:
            DataError: When the value is none of the two.
        """
        if self.test_files:
            return "test" if fnmatch(path.name, self.test_files) else "train"
        if not self.split_column:
            return ""
        if str(value) == self.train_value:
            return "train"
        if str(value) == self.test_value:
            return "test"
        raise DataError(
            f"{origin}: column {self.split_column!r} is {value!r}; expected {self.train_value!r} or "
            f"{self.test_value!r} (source_options.train_value, source_options.test_value)"
        )

    def _files(self, location: str) -> list[TableFile]:
        self._passed_over.clear()
        return table_files(location, self._passed_over, others=self.other_suffixes, expected=self.expected_files)
