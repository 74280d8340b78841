"""Splits in paths: folders and file names that are those of a split, as people and Hugging Face's hub write them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cl_core.data.sources._listing import text_of
from cl_core.errors import DataError

_MEANINGS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}
# The hub writes `partial-train/` where it exports the beginning of a large split; Hive writes `split=train/`.
_FOLDER_PREFIX = re.compile(r"^(partial-|split=)", re.IGNORECASE)
# As in train.parquet, train_1.parquet and train-00000-of-00001.parquet, but not in trainings.parquet.
_FILE_NAME = re.compile(rf"({'|'.join(sorted(_MEANINGS, reverse=True))})(?![^\W\d_])", re.IGNORECASE)
_WHAT = {"folder": "folder", "file_name": "file name"}


def split_meaning(folder: str) -> str:
    """Return `train`, `test` or `val` where a name, in any case, is that of a split; else nothing."""
    return _MEANINGS.get(folder.casefold(), "")


def folder_meaning(name: str) -> str:
    """Return `train`, `test` or `val` for a folder of a split, also as the hub and Hive name it; else nothing."""
    return split_meaning(_FOLDER_PREFIX.sub("", name))


def without_split(name: str) -> str:
    """Return what follows the split with which a file's name begins, as `cat` of `train-cat`."""
    return _FILE_NAME.sub("", name, count=1).lstrip("-_. ") if _FILE_NAME.match(name) else name


def validation_note(taken: Mapping[str, str]) -> str:
    """Return which split each of these validation splits was taken for; empty without any."""
    how = {"test": "is the test split", "train": "is trained on, since there is a test split"}
    return ", ".join(f"{name} {how[split]}" for name, split in taken.items())


@dataclass(frozen=True)
class PathSplits:
    """What the paths of files say about splits.

    Args:
        by: What names the splits: `folder`, `file_name`, or nothing.
        splits: Split by the name of a folder, or by the beginning of a file name.
        note: What a person should know about it.
    """

    by: Literal["folder", "file_name", ""] = ""
    splits: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def split(self, parts: Sequence[str]) -> str:
        """Return the split of a file; empty where its path does not say."""
        return self.splits[_named(parts, self.by)] if self.by else ""


def path_splits(files: Sequence[Sequence[str]], split_from: str, root: Path) -> PathSplits:
    """Return the splits of files by their folders or names.

    Args:
        files: Parts of each file's path, relative to `root`.
        split_from: `folder`, `file_name`, or `auto`: the first of both that tells two splits apart.
        root: For messages.

    Raises:
        DataError: When no path names a split that is asked for, some paths name one and others do not, or a path names
            two.
    """
    ways: tuple[Literal["folder", "file_name"], ...] = ("folder", "file_name")
    single = ""
    for by in ways if split_from == "auto" else [way for way in ways if way == split_from]:
        names = {name: folder_meaning(name) for name in sorted({_named(parts, by) for parts in files}) if name}
        if len(set(names.values())) > (split_from == "auto"):
            return _splits_named_by(files, by, names, root)
        single = single or ", ".join(names)
    if split_from != "auto":
        raise DataError(
            f"source_options.split_from: no {_WHAT[split_from]} below {root} is that of a split, such as train or "
            f"test; the first file is {text_of(files[0])}"
        )
    return PathSplits(note=f"of splits there is {single} alone, so that data.test_share decides" if single else "")


def _splits_named_by(
    files: Sequence[Sequence[str]], by: Literal["folder", "file_name"], names: Mapping[str, str], root: Path
) -> PathSplits:
    if beside := next((parts for parts in files if not _named(parts, by)), None):
        raise DataError(
            f"data.location: {root} holds {', '.join(names)}, which are splits by {_WHAT[by]}, beside "
            f"{text_of(beside)}, which is in none; move it into one or away, or set source_options.split_from to 'none'"
        )
    validation = "train" if "test" in names.values() else "test"
    splits = {name: validation if meaning == "val" else meaning for name, meaning in names.items()}
    validation_text = validation_note({name: splits[name] for name, meaning in names.items() if meaning == "val"})
    note = f"splits are those of the {_WHAT[by]}s {', '.join(names)}"
    return PathSplits(by, splits, f"{note}; {validation_text}" if validation_text else note)


def _named(parts: Sequence[str], by: str) -> str:
    """Return the folder that is a split, or the beginning of the file's name; empty without one.

    Raises:
        DataError: When folders of different splits lie in one another.
    """
    if by == "file_name":
        match = _FILE_NAME.match(parts[-1])
        return match[0] if match else ""
    folders = [folder for folder in parts[:-1] if folder_meaning(folder)]
    if len({folder_meaning(folder) for folder in folders}) > 1:
        raise DataError(
            f"data.location: {text_of(parts)} is in folders of two splits, {folders[0]} and {folders[1]}; move it, or "
            "set source_options.split_from to 'none'"
        )
    return folders[0] if folders else ""
