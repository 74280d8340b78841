"""Folders of samples: which files are listed, and which folders are splits and which are classes."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cl_core.data.path_roots import leads_out
from cl_core.data.sources._listing import entries, is_folder, listed_files, passed_over_as
from cl_core.data.sources._path_splits import split_meaning, validation_note
from cl_core.errors import DataError

_OR_NONE = "or set source_options.split_from to 'none' to take all folders as classes"


class FileKind(NamedTuple):
    """Files that are listed; others are passed over."""

    noun: str  # One of them, for people; in the plural, the folder beside annotations that labeling tools export.
    suffixes: Set[str]  # In lowercase. Such a file that cannot be read is quarantined.
    examples: str  # Some of the suffixes, for people.
    starts: Callable[[bytes], bool]  # Tells by its first bytes whether a file with another suffix is one.
    most_bytes: int  # A larger file is quarantined.

    def files(self, root: Path, passed_over: Counter[str] | None = None) -> Iterator[tuple[list[str], Path]]:
        """Yield every such file below `root`, with the parts of its path."""
        passed_over = Counter() if passed_over is None else passed_over
        return listed_files(root, suffixes=self.suffixes, starts=self.starts, passed_over=passed_over)


@dataclass(frozen=True)
class Layout:
    """Which folders are splits.

    Args:
        above: The folders that hold the splits, from the top; empty where the splits are at the top.
        splits: Split by the name of its folder; empty without splits.
        inside: By the name of a split's folder, one that holds all its files and is no class.
    """

    above: Sequence[str] = ()
    splits: Mapping[str, str] = field(default_factory=dict)
    inside: Mapping[str, str] = field(default_factory=dict)

    def place(self, folders: Sequence[str]) -> tuple[str, Sequence[str]]:
        """Return the split of a file in these folders, and the folders below it that are classes."""
        below = folders[len(self.above) :]
        if not below or below[0] not in self.splits:
            return "", folders
        name, *classes = below
        if classes and classes[0] == self.inside.get(name):
            classes = classes[1:]
        return self.splits[name], classes

    @property
    def note(self) -> str:
        """How validation folders were taken; empty without them."""
        return validation_note(
            {f"{name}/": split for name, split in self.splits.items() if split_meaning(name) == "val"}
        )


def folder_layout(root: Path, kind: FileKind) -> Layout:
    """Return which folders are splits, not classes. They are at the top, or in the only folder that holds files.

    Raises:
        DataError: When it is ambiguous: files or other folders are beside splits, several folders hold splits, a split
            holds another, or two folders have the name of one split.
    """
    above = _above_splits(root, kind)
    here = root.joinpath(*above)
    names = {name: meaning for name in _folders(here) if (meaning := split_meaning(name))}
    if not names:
        return Layout()
    if others := _beside(here, names, kind):
        raise DataError(
            f"data.location: {here} holds {_listed(names)} beside {others}; move what is in no split away or into one, "
            f"{_OR_NONE}"
        )
    if len(set(names.values())) < len(names):
        raise DataError(f"data.location: {here} holds {_listed(names)}; give each split one folder")
    inside = {name: folder for name in names if (folder := _holder(here / name, kind))}
    for name in names:
        split = here / name / inside.get(name, "")
        if within := list(filter(split_meaning, _folders(split))):
            raise DataError(f"data.location: the split {split} holds {_listed(within)}; move it up, {_OR_NONE}")
    validation = "train" if "test" in names.values() else "test"
    return Layout(above, {name: validation if of == "val" else of for name, of in names.items()}, inside)


def _above_splits(root: Path, kind: FileKind) -> list[str]:
    """Return the folders that hold the splits, if there are any.

    Raises:
        DataError: When files lie beside the folder that holds splits, in other folders or in none.
    """
    above: list[str] = []
    here, seen = root, set()
    while len(names := _folders(here)) == 1 and not split_meaning(names[0]) and not _loose_file(here, kind):
        if (place := here.resolve()) in seen:  # A link leads in circles.
            return []
        seen.add(place)
        above.append(names[0])
        here /= names[0]
    if any(map(split_meaning, names)):
        return above
    holders = [
        name for name in names if any(map(split_meaning, _folders(here / name))) and _holds_files(here / name, kind)
    ]
    others = _beside(here, holders, kind)
    if len(holders) > 1 or (holders and others):
        beside = f" beside {others}" if others else ""
        raise DataError(
            f"data.location: {here} has splits in {_listed(holders)}{beside}; put the splits at the top, as in "
            f"{next(filter(split_meaning, _folders(here / holders[0])))}/{holders[0]}/, {_OR_NONE}"
        )
    return [*above, *holders]


def _beside(here: Path, splits: Collection[str], kind: FileKind) -> str:
    """Return what has files beside these folders, for people; empty for nothing."""
    others = [name for name in _folders(here) if name not in splits and _holds_files(here / name, kind)]
    return ", ".join(filter(None, [_listed(others), _loose_file(here, kind)]))


def _holder(split: Path, kind: FileKind) -> str:
    """Return the folder that holds all files of a split and is no class; empty without one.

    It is named after what it holds, such as `images`, perhaps beside annotations, or like the split, as archives unpack
    into folders of their name.
    """
    holding = [name for name in _folders(split) if _holds_files(split / name, kind)]
    no_classes = {f"{kind.noun}s", *filter(split_meaning, holding)}
    if len(holding) != 1 or holding[0] not in no_classes or _loose_file(split, kind):
        return ""
    return holding[0] if split_meaning(holding[0]) in ("", split_meaning(split.name)) else ""


def _folders(folder: Path) -> list[str]:
    """List the folders in a folder; none of a link out of the folders of CL_DATA_ROOTS."""
    return [] if leads_out(folder) else [entry.name for entry in entries(folder) if is_folder(entry)]


def _loose_file(folder: Path, kind: FileKind) -> str:
    """Return the name of such a file in a folder itself; empty without one."""
    for entry in [] if leads_out(folder) else entries(folder):
        if not is_folder(entry) and not passed_over_as(entry, kind.suffixes, kind.starts):
            return entry.name
    return ""


def _holds_files(folder: Path, kind: FileKind) -> bool:
    return next(kind.files(folder), None) is not None


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(f"{name}/" for name in shown[:5]) + (", ..." if len(shown) > 5 else "")
