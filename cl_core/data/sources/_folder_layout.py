"""Folders of images: which files are listed, and which folders are splits and which are classes."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cl_core.data.path_roots import leads_out
from cl_core.errors import DataError
from cl_core.modalities.image import starts_like_image

# Files with these suffixes that cannot be decoded are quarantined. Other files (README.txt, labels.csv) and hidden
# files (.DS_Store, ._a.jpg) are passed over, unless they begin like an image.
IMAGE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".avif", ".heic", ".heif", ".jp2", ".jxl"),
    *(".bmp", ".tif", ".tiff", ".pbm", ".pgm", ".pnm", ".ppm", ".tga"),
}
# Folders that macOS, NAS boxes, Linux and Windows make: previews, resource forks, deleted and recovered files.
NOT_OF_PEOPLE = {
    *("__MACOSX", "@eaDir", "#recycle", "lost+found", "$RECYCLE.BIN", "System Volume Information"),
}
# The folder beside annotations in a split, as labeling tools export it.
_IMAGES = "images"


@dataclass(frozen=True)
class Layout:
    """Which folders are splits.

    Args:
        above: The only folder at the top, which holds the splits; empty where they are at the top.
        splits: Split by the name of its folder; empty without splits.
        inside: By the name of a split's folder, one that holds all its images and is no class.
    """

    above: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)
    inside: Mapping[str, str] = field(default_factory=dict)

    def place(self, folders: Sequence[str]) -> tuple[str, Sequence[str]]:
        """Return the split of a file in these folders, and the folders below it that are classes."""
        below = folders[1:] if self.above and folders else folders
        if not below or below[0] not in self.splits:
            return "", folders
        name, *classes = below
        if classes and classes[0] == self.inside.get(name):
            classes = classes[1:]
        return self.splits[name], classes

    @property
    def note(self) -> str:
        """How validation folders were taken; empty without them."""
        taken = {"test": "is the test split", "train": "is trained on, since there is a test split"}
        return ", ".join(f"{name}/ {taken[split]}" for name, split in self.splits.items() if _meaning(name) == "val")


def _meaning(folder: str) -> str:
    name = folder.casefold()
    return {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}.get(name, "")


def folder_layout(root: Path) -> Layout:
    """Tell which folders are splits, not classes.

    Raises:
        DataError: When it is ambiguous: other folders are beside splits, or two folders have the name of one split.
    """
    top = [entry.name for entry in _entries(root) if _is_folder(entry)]
    above = ""
    if len(top) == 1 and not _meaning(top[0]) and not any(map(_is_image, _entries(root))):
        inner = [entry.name for entry in _entries(root / top[0]) if _is_folder(entry)]
        if len({_meaning(name) for name in inner} - {""}) > 1:
            above, top = top[0], inner
    named = {name: meaning for name in top if (meaning := _meaning(name))}
    others = sorted(set(top) - set(named))
    meanings = sorted(named.values())
    here = root / above if above else root
    if len(set(meanings)) > 1 and others:
        raise DataError(
            f"data.location: {here} holds {_listed(named)} beside {_listed(others)}; {_listed(named)} are splits: move "
            "the others away or into one of them, or set source_options.splits to 'none' to take all as classes"
        )
    if others or not named:
        return Layout()
    if len(set(meanings)) < len(meanings):
        raise DataError(f"data.location: {here} holds {_listed(named)}; give each split one folder")
    validation = "train" if "test" in meanings else "test"
    splits = {name: validation if meaning == "val" else meaning for name, meaning in named.items()}
    return Layout(above, splits, {name: _IMAGES for name in named if _only_images(here / name)})


def _only_images(split: Path) -> bool:
    """Tell whether a split has its images in one folder of that name, perhaps beside one of annotations."""
    entries = _entries(split)
    holding = [entry.name for entry in entries if _is_folder(entry) and any(True for _ in image_files(Path(entry)))]
    return holding == [_IMAGES] and not any(map(_is_image, entries))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name}/" for name in sorted(names)[:5])


def _is_image(entry: os.DirEntry[str]) -> bool:
    return Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and not _is_folder(entry)


def image_files(root: Path, passed_over: Counter[str] | None = None) -> Iterator[tuple[list[str], Path]]:
    """Yield every image file below `root`, with the parts of its path relative to it.

    A file is one by its suffix, or by its first bytes where the suffix says nothing.

    Args:
        root: Folder that is listed.
        passed_over: Counts what is passed over: by suffix, or by name where an operating system has made it.
    """
    passed_over = Counter() if passed_over is None else passed_over
    # The folders on the way down, by device and inode: a link to one of them would lead in circles.
    waiting: list[tuple[list[str], Path, frozenset[tuple[int, int]]]] = [([], root, frozenset())]
    while waiting:
        parts, folder, above = waiting.pop()
        state = folder.stat()
        here = (state.st_dev, state.st_ino)
        if here in above:
            continue
        for entry in _entries(folder, passed_over):
            below = [*parts, entry.name]
            # A link that leads out, to a file or a folder, is listed but not followed.
            if _is_folder(entry) and not leads_out(Path(entry)):
                waiting.append((below, folder / entry.name, above | {here}))
            elif _is_folder(entry) or (kind := _passed_over(entry)) is None:
                yield below, folder / entry.name
            else:
                passed_over[kind] += 1


def _passed_over(entry: os.DirEntry[str]) -> str | None:
    """Return what a file is counted as when it is passed over; None of an image."""
    suffix = Path(entry.name).suffix.lower()
    return None if suffix in IMAGE_SUFFIXES or starts_like_image(_head(entry)) else suffix or "no suffix"


def _head(entry: os.DirEntry[str]) -> bytes:
    """Return the first bytes of a regular file; nothing of all else, since a pipe would wait for its writer."""
    try:
        if not entry.is_file() or leads_out(Path(entry)):
            return b""
        with Path(entry).open("rb") as file:
            return file.read(16)
    except OSError:
        return b""


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a folder, or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _entries(folder: Path, passed_over: Counter[str] | None = None) -> list[os.DirEntry[str]]:
    """List a folder by name, without hidden files and what operating systems put beside the images, which are counted.

    Raises:
        DataError: When it cannot be listed, since the number of missing images would be unknown.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"data.location: the folder {folder} cannot be listed ({error.strerror}); make it readable, or move it away"
        ) from error
    if passed_over is not None:
        passed_over.update("hidden" for entry in found if entry.name.startswith("."))
        passed_over.update(entry.name for entry in found if entry.name in NOT_OF_PEOPLE)
    return [entry for entry in found if not entry.name.startswith(".") and entry.name not in NOT_OF_PEOPLE]
