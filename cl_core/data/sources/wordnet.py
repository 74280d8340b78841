"""WordNet: what 117,659 meanings of English words are called, how they are explained, and how they are used."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from cl_core.data.path_roots import confined
from cl_core.data.sources import RawSample, Source
from cl_core.data.sources._listing import fingerprint_of
from cl_core.data.sources._wordnet_files import PARTS, Synset, read_synsets
from cl_core.errors import DataError
from cl_core.modalities import joined
from cl_core.registry import SOURCES

DEBIAN_FOLDER = Path("/usr/share/wordnet")
DEBIAN_PACKAGE = "wordnet-base"

_PAIRS = "text_pair"
# Of 100 synsets, by the hash of their name.
_TEST_PERCENT = 8


@SOURCES.register("wordnet")
class WordNet(Source):
    """The glosses of WordNet 3.0, or pairs of an example and the gloss that explains it.

    Labels are the 45 files of its lexicographers, such as noun.animal. The files are read from the location, if one is
    given, or from the folder of Debian's package `wordnet-base`. A hash of its name puts 8 % of the synsets into the
    test split. A pair is not trained on if one of its texts is also a word, gloss or example of a test synset.

    Source: Fellbaum 1998, "WordNet: An electronic lexical database", MIT Press. License: WordNet 3.0.
    """

    modalities: ClassVar[tuple[str, ...]] = ("text", _PAIRS)
    of_one_modality: ClassVar[Mapping[str, str]] = {"words": _PAIRS}

    words: bool = True
    """Train on pairs of a word and its gloss, too. Of pairs only."""

    def fingerprint(self, location: str) -> str:
        """Return a digest of the path and state of the four files."""
        folder = self._folder(location)
        return fingerprint_of(folder / f"data.{part}" for part in PARTS)

    def samples(self, location: str) -> Iterator[RawSample]:
        """Yield the gloss of every synset, or its pairs."""
        folder = self._folder(location)
        if self._modality == _PAIRS:
            yield from self._pairs(folder)
            return
        for synset in read_synsets(folder):
            split = "test" if is_held_out(synset) else "train"
            yield RawSample(synset.gloss.encode(), synset.category, split, synset.origin)

    def _pairs(self, folder: Path) -> Iterator[RawSample]:
        tested = {_form(text) for synset in read_synsets(folder) if is_held_out(synset) for text in synset.texts}
        for synset in read_synsets(folder):
            held_out, gloss = is_held_out(synset), synset.gloss
            # One example of each synset, so that none counts more than others.
            firsts = {f"{synset.origin}#example": text for text in synset.examples[:1]}
            if self.words and not held_out:
                firsts |= {f"{synset.origin}#{lemma}": lemma for lemma in synset.lemmas}
            for origin, first in firsts.items():
                if held_out or not {_form(first), _form(gloss)} & tested:
                    payload = joined((first.encode(), gloss.encode()))
                    yield RawSample(payload, synset.category, "test" if held_out else "train", origin)

    def _folder(self, location: str) -> Path:
        folder = confined(location, field="data.location") if location else DEBIAN_FOLDER
        missing = [f"data.{part}" for part in PARTS if not (folder / f"data.{part}").is_file()]
        if missing:
            raise DataError(
                f"data.location: {folder} has no {', '.join(missing)}; install WordNet 3.0 with "
                f"`apt-get install {DEBIAN_PACKAGE}`, or name a folder with its data files"
            )
        return folder


def is_held_out(synset: Synset) -> bool:
    """Return whether a synset is in the test split; it depends on its name alone."""
    first = hashlib.sha256(synset.origin.encode()).digest()[:8]
    return int.from_bytes(first, "big") % 100 < _TEST_PERCENT


def _form(text: str) -> str:
    """Return a text without letter case and the width of blanks."""
    return " ".join(text.casefold().split())
