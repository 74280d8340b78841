"""Texts, or pairs of texts: a line each of text files, or a row each of Parquet, CSV, TSV or JSON lines."""

from collections.abc import Mapping, Set
from typing import ClassVar, Self

from pydantic import Field, model_validator

from cl_core.data.sources._text_rows import TEXT_SUFFIXES
from cl_core.data.sources._text_tables import TextTables
from cl_core.registry import SOURCES

_PAIRS = "text_pair"


@SOURCES.register("texts")
class TextFiles(TextTables):
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

    @model_validator(mode="after")
    def _texts_are_no_labels(self) -> Self:
        for option in ("second_column", "label_column", "split_column"):
            if getattr(self, option) == self.text_column:
                raise ValueError(f"text_column and {option} are both {self.text_column!r}; leave one of them out")
        return self

    @property
    def text_columns(self) -> dict[str, str]:
        """Options that name the columns of texts, by column."""
        columns = {self.text_column: "source_options.text_column"}
        if self._modality == _PAIRS:
            columns[self.second_column or "second"] = "source_options.second_column"
        return columns
