"""From a column of a table to classes: which Arrow types are labels, and which values mean unlabeled.

The table in `docs/inputs.md` says the same for people.
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import types

from cl_core.errors import DataError

_FIELD = "source_options.label_column"
_KINDS = {
    "text": (
        *(types.is_string, types.is_large_string, types.is_string_view),
        *(types.is_binary, types.is_large_binary, types.is_binary_view),
    ),
    "number": (types.is_integer, types.is_floating),
    "boolean": (types.is_boolean,),
    "empty": (types.is_null,),
}
_PLURALS = {"text": "text", "number": "numbers", "boolean": "booleans"}
_WANTED = "text, whole numbers, booleans, or one of these as a dictionary; one class for each sample"
# The index by which Hugging Face's `datasets` marks a sample without a label.
_UNLABELED = -1


@dataclass(frozen=True)
class LabelColumn:
    """How the labels of one file are read.

    Args:
        column: Its name.
        kind: `text`, `number`, `boolean` or `empty`; files of one dataset must have the same.
        names: Class names by index, where the file has them as Hugging Face's `datasets` writes them.
        path: The file.
        type: Its Arrow type there.
        note: That another file has another type of the same kind; empty where all are alike.
    """

    column: str
    kind: str
    names: tuple[str, ...]
    path: Path
    type: str
    note: str = ""

    @classmethod
    def of(cls, schema: pa.Schema, column: str, path: Path, *, like: "LabelColumn | None" = None) -> "LabelColumn":
        """Return the column of a file; `like` is that of a file before it in the same dataset.

        Raises:
            DataError: When its type cannot hold one class for each sample, or means something else than in `like`.
        """
        type_ = schema.field(column).type
        kind = _kind(type_)
        if not kind:
            raise DataError(f"{_FIELD}: column {column!r} of {path} is {type_}; expected {_WANTED}")
        column_labels = cls(column, kind, _class_names(schema, column) if kind == "number" else (), path, str(type_))
        if like is None or like.kind == "empty":
            return column_labels
        if kind != "empty" and (kind, column_labels.names) != (like.kind, like.names):
            what = f"{kind}, not {like.kind}" if kind != like.kind else "of other class names"
            raise DataError(
                f"{_FIELD}: column {column!r} of {path} is {what} as in {like.path}; write both files alike"
            )
        if kind == "empty" or str(type_) == like.type or like.note:
            return like
        both = f"column {column!r} is {like.type} in {like.path.name} and {type_} in {path.name}"
        return replace(like, note=f"{both}; both are read as {_PLURALS[kind]}")

    def label(self, value: Any, origin: str) -> str | None:
        """Return the class that a value names; None where it is no label.

        Args:
            value: As pyarrow gives it: None, text, bytes, int, float or bool.
            origin: File and row, for people.

        Raises:
            DataError: When the value is no class: text that is not UTF-8, a fraction, an index without a name.
        """
        if value is None:
            return None
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError:
                raise self._refused(value, origin, "bytes that are UTF-8 text") from None
        if isinstance(value, str):
            return value.strip() or None
        if isinstance(value, bool):
            return str(value)
        if isinstance(value, float):
            if math.isnan(value):
                return None
            if not value.is_integer():  # Infinity is not.
                raise self._refused(value, origin, "a whole number")
            value = int(value)
        if not self.names:
            return str(value)
        if value == _UNLABELED:
            return None
        if not 0 <= value < len(self.names):
            raise self._refused(value, origin, f"-1 (no label) or an index of the {len(self.names)} class names")
        return self.names[value].strip() or None

    def _refused(self, value: Any, origin: str, expected: str) -> DataError:
        return DataError(f"{origin}: column {self.column!r} is {value!r}; expected {expected} ({_FIELD})")


def _kind(type_: pa.DataType) -> str:
    """Return what the values of a type are as labels; empty where they are none."""
    if types.is_dictionary(type_):
        return _kind(type_.value_type)
    return next((kind for kind, tests in _KINDS.items() if any(test(type_) for test in tests)), "")


def _class_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """Return the names of integer labels where the file has them as Hugging Face's `datasets` writes them."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return ()
