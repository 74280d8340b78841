"""Texts, or pairs of texts: a line each of text files, or a row each of Parquet, CSV, TSV or JSON lines."""

from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from cl_core.data.sources import RawSample, Unreadable
from cl_core.data.sources._labels import LabelColumn
from cl_core.data.sources._parquet_files import TableFile, check_group_column, group_of
from cl_core.data.sources._split_options import SplitTables
from cl_core.data.sources._text_rows import TEXT_SUFFIXES, Row, has_columns, text_rows, text_schema
from cl_core.errors import DataError
from cl_core.modalities import joined
from cl_core.registry import SOURCES

_PAIRS = "text_pair"


@SOURCES.register("texts")
class TextFiles(SplitTables):
    """One file of texts, or all below a folder: text files (`.txt`), Parquet, CSV, TSV, or JSON lines (`.jsonl`).

    Each line of a text file is a sample, each row of the others. Pairs of texts are in two columns. Folders such as
    `train` and `test`, or file names that begin so, are splits if they tell two apart. Without `test` the validation
    files are the test split, beside it they are trained on.
    """

    modalities: ClassVar[tuple[str, ...]] = ("text", _PAIRS)
    of_one_modality: ClassVar[Mapping[str, str]] = {"second_column": _PAIRS}
    other_suffixes: ClassVar[Set[str]] = TEXT_SUFFIXES
    expected_files: ClassVar[str] = "a file of texts (.txt, .jsonl, .csv, .tsv or .parquet)"

    text_column: str = Field("text", min_length=1)
    """Column of the texts, of pairs that of the first ones; text files have none."""
    second_column: str = ""
    """Column of the second text of each pair; `second` if it is left out. Of pairs only."""
    label_column: str = ""
    """Column of class names, text or whole numbers. Empty: unlabeled."""

    @model_validator(mode="after")
    def _texts_are_no_labels(self) -> Self:
        for option in ("second_column", "label_column", "split_column"):
            if getattr(self, option) == self.text_column:
                raise ValueError(f"text_column and {option} are both {self.text_column!r}; leave one of them out")
        return self

    def samples(self, location: str) -> Iterator[RawSample | Unreadable]:
        """Yield every text; a row without one becomes unreadable, and a blank line of a text file is none."""
        files = self._files(location)
        splits = self.splits_of(files, Path(location))
        self._notes[:] = filter(None, [splits.note])
        labels: LabelColumn | None = None
        for file in files:
            self._check_columns(file)
            if self.label_column:
                schema = text_schema(file, self.label_column, "source_options.label_column")
                labels = LabelColumn.of(schema, self.label_column, file.path, like=labels)
                if labels.note not in self._notes:
                    self._notes.append(labels.note)
            yield from self._rows(file, labels, splits.split(file.parts))

    def _rows(self, file: TableFile, labels: LabelColumn | None, path_split: str) -> Iterator[RawSample | Unreadable]:
        path, texts = file.path, self._text_columns
        label_column, split_column, group_column = self.label_column, self.split_column, self._group_column
        split = path_split or ("" if split_column else self.split_of_row(None, path, file.name))
        for number, row in text_rows(file, texts, list(self._columns_beside_texts)):
            origin = f"{file.name}#{number}"
            if isinstance(row, str):
                yield Unreadable(origin, row)
            elif missing := _first_without_text(row, texts):
                yield Unreadable(origin, f"column {missing!r} has no text in this row")
            else:
                label = labels.label(row[label_column], origin) if labels else None
                group = group_of(row[group_column]) if group_column else None
                if split_column:
                    split = path_split or self.split_of_row(row[split_column], path, origin)
                yield RawSample(joined([row[name] for name in texts]), label, split, origin, group=group)

    @property
    def _text_columns(self) -> dict[str, str]:
        """Options that name the columns of texts, by column."""
        columns = {self.text_column: "source_options.text_column"}
        if self._modality == _PAIRS:
            columns[self.second_column or "second"] = "source_options.second_column"
        return columns

    @property
    def _columns_beside_texts(self) -> dict[str, str]:
        """Options that name columns beside the texts, by column."""
        return self.columns_beside(self.label_column)

    def _check_columns(self, file: TableFile) -> None:
        """Refuse a file without the columns that are named.

        Raises:
            DataError: Naming the option.
        """
        if not has_columns(file):
            own = dict(list(self._text_columns.items())[1:])
            for name, option in {**own, **self._columns_beside_texts}.items():
                raise DataError(
                    f"{option}: {file.path} is a text file, whose lines have no column {name!r}; write a table or JSON "
                    "lines, or leave the option out"
                )
            return
        for name, option in {**self._columns_beside_texts, **self._text_columns}.items():
            schema = text_schema(file, name, option)
            if name == self._group_column:
                check_group_column(schema, name, file.path)


def _first_without_text(row: Row, columns: Iterable[str]) -> str:
    return next((name for name in columns if row[name] is None), "")
