"""A folder of text files, each of which is one text: one folder per class, or unlabeled; at any depth."""

from typing import ClassVar

from cl_core.data.sources._file_folder import FileFolder
from cl_core.data.sources._folder_layout import FileKind
from cl_core.modalities._text_payloads import MAX_BYTES
from cl_core.modalities.text import Texts
from cl_core.registry import SOURCES


@SOURCES.register("text_folder")
class TextFolder(FileFolder):
    """Every text file below a folder, each as one text; `texts` reads a text from each line.

    Classes and splits are those of `image_folder`: the first folder on the way to a file is its class, below `train`,
    `val` and `test` where there are such folders. A folder `texts` that holds all files of a split is no class.
    """

    modalities: ClassVar[tuple[str, ...]] = ("text",)

    kind: ClassVar[FileKind] = FileKind(
        noun="text",
        suffixes=frozenset((".txt", ".text", ".md")),
        examples=".txt, .text, .md",
        starts=lambda head: False,
        most_bytes=MAX_BYTES,
    )

    def _payload(self, file: bytes) -> bytes:
        """Return the text of a file, without a byte order mark, and without white space around it."""
        return Texts().payload_of(file)
