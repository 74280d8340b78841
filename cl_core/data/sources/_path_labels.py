"""Classes in paths: Hive partitions, folders and file names. They are trimmed like labels of a table."""

import re
from collections.abc import Collection, Sequence
from urllib.parse import unquote

from cl_core.data.sources._listing import text_of
from cl_core.errors import DataError

NAME_PATTERN = r"^(.*?)[ ._-]*\(?\d*(?:-of-\d+)?\)?$"
"""Of cat_001.png, cat.7.png, cat (2).png and cat-00000-of-00001.parquet this finds `cat`; of 001.png nothing."""

LABEL = "label"  # The partition that is taken for the class where no option names one.
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def trimmed(text: str | None) -> str | None:
    """Return a class name without blanks around it; None where nothing is left."""
    return (text or "").strip() or None


def partition_values(folders: Sequence[str]) -> dict[str, str | None]:
    """Return the columns that are folders, as Hive and Spark write them: of `label=cat` the value `cat` of `label`.

    Names and values are percent-decoded. The partition of null values has None.

    Raises:
        DataError: When two of the folders are one column.
    """
    columns: dict[str, str | None] = {}
    for folder in folders:
        key, equals, value = folder.partition("=")
        if key and equals:
            name = unquote(text_of([key]))
            if name in columns:
                raise DataError(
                    f"data.location: two folders of {text_of(folders)} are the column {name!r}; rename one of them"
                )
            columns[name] = None if value == _NO_VALUE else unquote(text_of([value]))
    return columns


def partition_note(names: Collection[str]) -> str:
    """Return which of these partitions are labels, or could be, where no option names one; empty without any."""
    if LABEL in names:
        return f"labels are the folders {LABEL}=...; source_options.label_from 'none' reads none"
    known = ", ".join(f"{name}=..." for name in sorted(names))
    return known and f"folders {known} are columns; source_options.label_column may name one as the class"


def folder_label(folders: Sequence[str]) -> str | None:
    """Return the class that the last of these folders names; of a Hive partition its value.

    Raises:
        DataError: When several folders are Hive partitions.
    """
    if not folders:
        return None
    partitions = partition_values(folders)
    if len(partitions) > 1:
        raise DataError(
            f"source_options.label_from: 'folder' is ambiguous in {text_of(folders)}; leave it out, and set "
            f"source_options.label_column to one of {', '.join(partitions)}"
        )
    if "=" in folders[-1] and partitions:
        (value,) = partitions.values()
        return trimmed(value)
    return trimmed(text_of(folders[-1:]))


def check_pattern(pattern: str, label_from: str) -> None:
    """Refuse a pattern of file names that is not read, or that has not one group, the class.

    Raises:
        ValueError: With the option's name.
    """
    if pattern != NAME_PATTERN and label_from != "file_name":
        raise ValueError(
            f"label_pattern {pattern!r} would not be read with label_from {label_from!r}; set label_from to 'file_name'"
        )
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"label_pattern {pattern!r} is not a regular expression ({error}); correct it") from error
    if groups != 1:
        raise ValueError(
            f"label_pattern {pattern!r} has {groups} groups; wanted one, which is the class, as in '^([a-z]+)_'"
        )


def name_label(name: str, pattern: str) -> str | None:
    """Return the class in a file's name: what the group of the pattern finds in it, without the suffix."""
    match = re.search(pattern, text_of([name]).rpartition(".")[0] or name)
    return trimmed(match[1]) if match else None


def no_name_matches(pattern: str, name: str) -> DataError:
    """Return the error of files of whose names none has a class; `name` is an example."""
    return DataError(
        f"source_options.label_pattern: {pattern!r} finds a class in no file name, such as {name}; correct it"
    )
