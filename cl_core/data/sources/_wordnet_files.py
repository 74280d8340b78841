"""WordNet's data files: a synset, its words, its gloss and its examples, on a line each."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cl_core.errors import DataError

PARTS = ("noun", "verb", "adj", "adv")
# By number, as lexnames(5WN) lists them.
LEXICOGRAPHER_FILES = (
    *("adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact", "noun.attribute"),
    *("noun.body", "noun.cognition", "noun.communication", "noun.event", "noun.feeling", "noun.food", "noun.group"),
    *("noun.location", "noun.motive", "noun.object", "noun.person", "noun.phenomenon", "noun.plant"),
    *("noun.possession", "noun.process", "noun.quantity", "noun.relation", "noun.shape", "noun.state"),
    *("noun.substance", "noun.time", "verb.body", "verb.change", "verb.cognition", "verb.communication"),
    *("verb.competition", "verb.consumption", "verb.contact", "verb.creation", "verb.emotion", "verb.motion"),
    *("verb.perception", "verb.possession", "verb.social", "verb.stative", "verb.weather", "adj.ppl"),
)
_QUOTED = re.compile(r'"([^"]*)"')
_BEFORE_QUOTES = re.compile(r';?\s*"')
# A syntactic marker behind an adjective, as in `afloat(p)`; wninput(5WN).
_MARKER = re.compile(r"\((?:a|p|ip)\)$")


class Synset(NamedTuple):
    """Words of one meaning."""

    origin: str  # Such as data.noun#00001740: file and offset, by which WordNet names it.
    category: str  # Of the 45 lexicographer files, such as noun.animal.
    lemmas: tuple[str, ...]
    gloss: str  # What they mean, without the examples.
    examples: tuple[str, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """All that it says."""
        return (*self.lemmas, self.gloss, *self.examples)


def read_synsets(folder: Path) -> Iterator[Synset]:
    """Yield the synsets of a folder with `data.noun`, `data.verb`, `data.adj` and `data.adv`.

    Source: wndb(5WN) of WordNet 3.0.

    Raises:
        DataError: When a file cannot be read, or a line is not as that page says.
    """
    for part in PARTS:
        file = folder / f"data.{part}"
        try:
            with file.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    if not line.startswith("  "):  # The license.
                        yield _synset(line, file, number)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"data.location: {file} cannot be read ({error}); name a folder with WordNet's "
                f"{', '.join(f'data.{name}' for name in PARTS)}"
            ) from error


def _synset(line: str, file: Path, number: int) -> Synset:
    fields, bar, gloss = line.rstrip().partition(" | ")
    try:
        offset, category, _, count, *rest = fields.split(" ")
        lemmas = [_MARKER.sub("", lemma).replace("_", " ") for lemma in rest[: 2 * int(count, 16) : 2]]
        named = LEXICOGRAPHER_FILES[int(category)]
    except (ValueError, IndexError) as error:
        raise _not_wordnet(file, number) from error
    if not bar or not lemmas:
        raise _not_wordnet(file, number)
    return Synset(
        origin=f"{file.name}#{offset}",
        category=named,
        lemmas=tuple(lemmas),
        gloss=_BEFORE_QUOTES.split(gloss, maxsplit=1)[0].strip(" ;"),
        examples=tuple(filter(None, map(str.strip, _QUOTED.findall(gloss)))),
    )


def _not_wordnet(file: Path, number: int) -> DataError:
    return DataError(
        f"data.location: line {number:,} of {file} is not a synset of WordNet 3.0; name a folder with the files of its "
        "package, such as Debian's wordnet-base"
    )
