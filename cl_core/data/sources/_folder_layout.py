"""Folders of images: which files are listed, and which folders are splits and which are classes."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cl_core.data.sources._listing import entries, is_folder, listed_files
from cl_core.data.sources._path_splits import split_meaning, validation_note
from cl_core.errors import DataError
from cl_core.modalities._image_decoding import starts_like_image

# Files with these suffixes that cannot be decoded are quarantined. Other files (README.txt, labels.csv) and hidden
# files (.DS_Store, ._a.jpg) are passed over, unless they begin like an image.
IMAGE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".avif", ".heic", ".heif", ".jp2", ".jxl"),
    *(".bmp", ".tif", ".tiff", ".pbm", ".pgm", ".pnm", ".ppm", ".tga"),
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
        return validation_note(
            {f"{name}/": split for name, split in self.splits.items() if split_meaning(name) == "val"}
        )


def folder_layout(root: Path) -> Layout:
    """Tell which folders are splits, not classes.

    Raises:
        DataError: When it is ambiguous: other folders are beside splits, or two folders have the name of one split.
    """
    top = [entry.name for entry in entries(root) if is_folder(entry)]
    above = ""
    if len(top) == 1 and not split_meaning(top[0]) and not any(map(_is_image, entries(root))):
        inner = [entry.name for entry in entries(root / top[0]) if is_folder(entry)]
        if len({split_meaning(name) for name in inner} - {""}) > 1:
            above, top = top[0], inner
    named = {name: meaning for name in top if (meaning := split_meaning(name))}
    others = sorted(set(top) - set(named))
    meanings = sorted(named.values())
    here = root / above if above else root
    if len(set(meanings)) > 1 and others:
        raise DataError(
            f"data.location: {here} holds {_listed(named)} beside {_listed(others)}; {_listed(named)} are splits: move "
            "the others away or into one of them, or set source_options.split_from to 'none' to take all as classes"
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
    inside = entries(split)
    holding = [entry.name for entry in inside if is_folder(entry) and any(True for _ in image_files(Path(entry)))]
    return holding == [_IMAGES] and not any(map(_is_image, inside))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name}/" for name in sorted(names)[:5])


def _is_image(entry: os.DirEntry[str]) -> bool:
    return Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and not is_folder(entry)


def image_files(root: Path, passed_over: Counter[str] | None = None) -> Iterator[tuple[list[str], Path]]:
    """Yield every image file below `root`, with the parts of its path; a file is one by its suffix or first bytes."""
    passed_over = Counter() if passed_over is None else passed_over
    return listed_files(root, suffixes=IMAGE_SUFFIXES, starts=starts_like_image, passed_over=passed_over)
