"""Samples that are named by texts in tables: rows of Parquet, CSV, TSV or JSON lines, or lines of text files."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path

from cl_core.data.sources import RawSample, Unreadable
from cl_core.data.sources._labels import LabelColumn
from cl_core.data.sources._parquet_files import TableFile, check_group_column, group_of
from cl_core.data.sources._split_options import SplitTables
from cl_core.data.sources._text_rows import Row, has_columns, text_rows, text_schema
from cl_core.errors import DataError
from cl_core.modalities import Reason, Rejected, joined


class TextTables(SplitTables):
    """Tables with columns of text, of which each row is a sample."""

    label_column: str = ""
    """Column of class names, text or whole numbers. Empty: unlabeled."""

    @property
    @abstractmethod
    def text_columns(self) -> dict[str, str]:
        """Options that name the columns of texts, by column, in the order of what they become."""

    def reason_without(self, column: str) -> Reason:
        """Return why a row is rejected that has no text in one of these columns."""
        del column
        return "unreadable"

    def payload(self, file: TableFile, texts: list[bytes]) -> bytes:
        """Return the payload of a row of a file; by default its texts.

        Raises:
            Rejected: When there is none; the detail says why.
        """
        del file
        return joined(texts)

    def samples(self, location: str) -> Iterator[RawSample | Unreadable]:
        """Yield every row; one without a text becomes unreadable, and a blank line of a text file is none."""
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
        path, texts = file.path, self.text_columns
        label_column, split_column, group_column = self.label_column, self.split_column, self._group_column
        split = path_split or ("" if split_column else self.split_of_row(None, path, file.name))
        for number, row in text_rows(file, texts, list(self._columns_beside_texts)):
            origin = f"{file.name}#{number}"
            if isinstance(row, str):
                yield Unreadable(origin, row)
            elif missing := _first_without_text(row, texts):
                yield Unreadable(
                    origin, f"column {missing!r} has no text in this row", reason=self.reason_without(missing)
                )
            else:
                label = labels.label(row[label_column], origin) if labels else None
                group = group_of(row[group_column]) if group_column else None
                if split_column:
                    split = path_split or self.split_of_row(row[split_column], path, origin)
                try:
                    payload = self.payload(file, [row[name] for name in texts])
                except Rejected as rejection:
                    yield Unreadable(origin, rejection.detail, reason=rejection.reason)
                else:
                    yield RawSample(payload, label, split, origin, group=group)

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
            own = dict(list(self.text_columns.items())[1:])
            for name, option in {**own, **self._columns_beside_texts}.items():
                raise DataError(
                    f"{option}: {file.path} is a text file, whose lines have no column {name!r}; write a table or JSON "
                    "lines, or leave the option out"
                )
            return
        for name, option in {**self._columns_beside_texts, **self.text_columns}.items():
            schema = text_schema(file, name, option)
            if name == self._group_column:
                check_group_column(schema, name, file.path)


def _first_without_text(row: Row, columns: Iterable[str]) -> str:
    return next((name for name in columns if row[name] is None), "")
