"""Lines of a text file: the beads, a blank, and the class."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from cl_core.data.sources import RawSample, Source
from cl_core.registry import SOURCES


@SOURCES.register("bead_lines")
class BeadLines(Source):
    """A text file with a string and its class on each line."""

    modalities: ClassVar[tuple[str, ...]] = ("beads",)

    def fingerprint(self, location: str) -> str:
        return Path(location).read_text()

    def samples(self, location: str) -> Iterator[RawSample]:
        for number, line in enumerate(Path(location).read_text().splitlines()):
            beads, _, label = line.partition(" ")
            yield RawSample(beads.encode(), label or None, "", f"{Path(location).name}#{number}")
