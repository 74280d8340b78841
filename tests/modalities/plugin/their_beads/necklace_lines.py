"""Lines of a text file: three measures, the beads, and the class."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from cl_core.data.sources import RawSample, Source
from cl_core.registry import SOURCES
from their_beads.necklace import necklace_payload


@SOURCES.register("necklace_lines")
class NecklaceLines(Source):
    """A text file with a necklace and its class on each line."""

    modalities: ClassVar[tuple[str, ...]] = ("necklace",)

    def fingerprint(self, location: str) -> str:
        return Path(location).read_text()

    def samples(self, location: str) -> Iterator[RawSample]:
        for number, line in enumerate(Path(location).read_text().splitlines()):
            *measures, beads, label = line.split()
            payload = necklace_payload(list(map(float, measures)), beads.encode())
            yield RawSample(payload, label, "", f"{Path(location).name}#{number}")
