"""Files of tables: which files below a folder are, the columns that their paths hold, and how Parquet is opened."""

import math
import stat
from collections import Counter
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cl_core.data.path_roots import confined
from cl_core.data.sources._listing import NOT_OF_PEOPLE, counted, is_lfs_pointer, listed_files, nothing_listed, text_of
from cl_core.data.sources._path_labels import partition_values
from cl_core.errors import DataError

PARQUET_SUFFIXES = frozenset((".parquet", ".pq", ".parq"))
PARQUET_MAGIC = b"PAR1"
# Summaries, unfinished files and logs that Spark, Dask and Delta Lake write beside the data.
_OF_ENGINES = frozenset(("_metadata", "_common_metadata", "_temporary", "_delta_log"))


@dataclass(frozen=True)
class TableFile:
    """A file of the source, by its path relative to the location."""

    path: Path
    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the relative path, for people: the origin of its rows."""
        return text_of(self.parts)

    @property
    def partitions(self) -> dict[str, str | None]:
        """Return the columns that are folders, as Hive writes them."""
        return partition_values(self.parts[:-1])


def table_files(
    location: str, passed_over: Counter[str], *, others: Set[str] = frozenset(), expected: str = "a Parquet file"
) -> list[TableFile]:
    """List the file at a location, or all files below it, by name; count what is passed over.

    Args:
        location: A file, or a folder.
        passed_over: Counts what is passed over.
        others: Suffixes of files that are read beside Parquet, in lowercase.
        expected: One such file, for messages.

    Raises:
        DataError: When the location is missing, unreadable or without such files, or one of them is no file.
        InputError: When one of them is a link out of the folders of CL_DATA_ROOTS.
    """
    if not location:
        raise DataError(f"data.location is empty; give {expected}, or a folder of them")
    root = confined(location, field="data.location")
    try:
        if stat.S_ISREG(root.stat().st_mode):
            return [TableFile(root, (root.name,))]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"data.location: there is no file or folder {root}; give {expected}, or a folder of them"
        ) from error
    except OSError as error:
        raise DataError(
            f"data.location: {root} cannot be read ({error.strerror}); make it readable, or move it away"
        ) from error
    left_out = NOT_OF_PEOPLE | _OF_ENGINES
    suffixes = PARQUET_SUFFIXES | others
    listed = listed_files(root, suffixes=suffixes, starts=_starts, passed_over=passed_over, left_out=left_out)
    files = sorted((TableFile(path, tuple(parts)) for parts, path in listed), key=lambda file: file.parts)
    for file in files:
        confined(file.path, field="data.location")  # A row cannot be quarantined before its file is opened.
        if not _is_file(file.path):  # Opening a pipe would wait for its writer.
            raise DataError(f"data.location: {file.path} is a broken link, or no readable file; move it away")
    if not files:
        names = " or ".join([".parquet", *sorted(others)])
        besides = f"; {counted(passed_over)}" if passed_over else ""
        lacks = f"data.location: {root} has no {names} files at any depth{besides}; give the folder that does"
        raise nothing_listed(root, passed_over, lacks)
    return files


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _starts(head: bytes) -> bool:
    return head.startswith(PARQUET_MAGIC)


@contextmanager
def opened_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file, and refuse one that turns out not to be Parquet."""
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if is_lfs_pointer(path):
            raise DataError(f"data.location: {path} is a pointer of Git LFS; run `git lfs pull`") from error
        raise DataError(f"data.location: {path} cannot be read as Parquet ({error}); export it again") from error


def batches_of(
    opened: pq.ParquetFile, path: Path, columns: list[str], rows_at_once: int, row_groups: list[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield some columns of a file, in batches.

    Raises:
        DataError: When a dictionary has text that is not UTF-8, which is found when it is read.
    """
    try:
        yield from opened.iter_batches(rows_at_once, row_groups=row_groups, columns=columns)
    except pa.ArrowInvalid as error:
        for name in columns:
            if pa.types.is_dictionary(opened.schema_arrow.field(name).type) and _is_broken(opened, name):
                raise _not_utf8(name, path, str(error)) from error
        raise


def _is_broken(opened: pq.ParquetFile, column: str) -> bool:
    try:
        for _ in opened.iter_batches(columns=[column]):
            pass
    except pa.ArrowInvalid:
        return True
    return False


def _not_utf8(column: str, path: Path, problem: str) -> DataError:
    return DataError(
        f"data.location: column {column!r} of {path} has text that is not UTF-8 ({problem}); export it again"
    )


def check_image_column(schema: pa.Schema, column: str, path: Path) -> None:
    """Refuse a column that does not hold encoded images.

    Raises:
        DataError: With the column's type.
    """
    kind = schema.field(column).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(
            f"source_options.image_column: column {column!r} of {path} is {kind}; expected binary, or a struct with a "
            "binary field 'bytes'"
        )


def check_text_column(schema: pa.Schema, column: str, path: Path) -> None:
    """Refuse a column that does not hold texts.

    Raises:
        DataError: With the column's type.
    """
    kind = schema.field(column).type
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(values) or pa.types.is_large_string(values) or pa.types.is_string_view(values)):
        raise DataError(f"source_options.text_column: column {column!r} of {path} is {kind}; expected text")


def check_group_column(schema: pa.Schema, column: str, path: Path) -> None:
    """Refuse a column that cannot name groups.

    Raises:
        DataError: When there is no such column, or more than one, or it holds lists or structs.
    """
    if schema.names.count(column) != 1:
        has = f"{schema.names.count(column)} columns" if column in schema.names else "no column"
        raise DataError(f"data.group: {path} has {has} {column!r}; it has: {', '.join(schema.names)}")
    kind = schema.field(column).type
    if pa.types.is_nested(kind):
        raise DataError(f"data.group: column {column!r} of {path} is {kind}; expected text, numbers or dates")


def group_of(value: Any) -> str | None:
    """Return the group that a value names; null, NaN and blank text name none."""
    if isinstance(value, bytes):
        value = value.decode(errors="backslashreplace")
    if isinstance(value, float):  # pandas writes whole numbers with gaps so.
        value = int(value) if value.is_integer() else None if math.isnan(value) else value
    return None if value is None else str(value).strip() or None


def rows_by_column(batch: pa.RecordBatch, path: Path) -> list[dict[str, Any]]:
    """Return the rows of a batch by column name."""
    columns = {}
    for name in batch.schema.names:
        try:
            columns[name] = batch.column(name).to_pylist()
        except UnicodeDecodeError as error:
            raise _not_utf8(name, path, error.reason) from error
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def values_at(path: Path, column: str, rows: list[int]) -> Iterator[Any]:
    """Yield the values of a column in these rows, as far as the file has them; read just their row groups."""
    with opened_parquet(path) as file:
        start = 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            here = [row - start for row in rows if start <= row < stop]
            if here:
                yield from file.read_row_group(group, columns=[column])[column].take(here).to_pylist()
            start = stop
