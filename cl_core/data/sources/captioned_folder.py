"""A folder of images with a text file beside each: cat.txt beside cat.png."""

import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import ClassVar

from cl_core.data.sources import RawSample, SourceEntry, Unreadable
from cl_core.data.sources._file_folder import FileFolder
from cl_core.data.sources._folder_layout import FileKind
from cl_core.data.sources._image_files import IMAGE_FILES
from cl_core.data.sources._listing import read_file, text_of
from cl_core.modalities import Rejected, joined
from cl_core.modalities._text_payloads import MAX_BYTES
from cl_core.modalities.text import Texts
from cl_core.registry import SOURCES

_TEXT = ".txt"


@SOURCES.register("captioned_folder")
class CaptionedFolder(FileFolder):
    """Every image file below a folder, with the text in the file of its name beside it.

    Classes and splits are those of `image_folder`. An image without a text is quarantined as `no_text`, a text without
    an image as `no_image`.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image_text",)
    kind: ClassVar[FileKind] = IMAGE_FILES

    @property
    def read_kind(self) -> FileKind:
        """Images, and texts."""
        return IMAGE_FILES._replace(suffixes=IMAGE_FILES.suffixes | {_TEXT})

    def listed(self, location: str) -> Iterator[SourceEntry]:
        """List every image with the state of its text, and every text without an image."""
        for _, entries in groupby(super().listed(location), key=lambda entry: entry.name.rpartition(b"/")[0]):
            files = list(entries)
            texts = {_stem(entry): entry for entry in files if _is_text(entry)}
            images = [entry for entry in files if not _is_text(entry)]
            for entry in images:
                beside = texts.get(_stem(entry))
                yield entry._replace(state=f"{entry.state} {beside.state if beside else ''}")
            for stem in texts.keys() - set(map(_stem, images)):
                yield texts[stem]

    def number_of_inputs(self, location: str) -> int:
        """Count the images, and the texts without one; none is read."""
        return sum(1 for _ in self.listed(location))

    def read(self, location: str, listed: SourceEntry) -> RawSample | Unreadable:
        """Read an image and its text."""
        if _is_text(listed):
            return Unreadable(listed.origin, "there is no image of its name beside it", listed, "no_image")
        sample = super().read(location, listed)
        if isinstance(sample, Unreadable):
            return sample
        path = Path(location).expanduser().absolute() / os.fsdecode(listed.name)
        for beside in map(path.with_suffix, (_TEXT, _TEXT.upper(), _TEXT.title())):
            try:
                text = Texts().payload_of(read_file(beside, most_bytes=MAX_BYTES))
            except FileNotFoundError:
                continue
            except Rejected as rejection:
                return Unreadable(listed.origin, f"its text: {rejection.detail}", listed, rejection.reason)
            return RawSample(joined((sample.payload, text)), listed.label, listed.split, listed.origin, listed)
        name = text_of([path.with_suffix(_TEXT).name])
        return Unreadable(listed.origin, f"there is no {name} beside it", listed, "no_text")


def _stem(entry: SourceEntry) -> bytes:
    return os.fsencode(Path(os.fsdecode(entry.name)).with_suffix(""))


def _is_text(entry: SourceEntry) -> bool:
    return entry.name.lower().endswith(_TEXT.encode())
