"""Which code points words are made of, and their small letters, as tables that tensors look up."""

import unicodedata
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

CODE_POINTS = 0x110000
PAGE = 256
"""Code points of a page: most pages are alike, so a table of pages is small."""

# Letters, marks such as accents and vowel signs, and numbers.
_IN_WORDS = "LMN"
_SURROGATES = range(0xD800, 0xE000)


def in_words(character: str) -> bool:
    """Return whether words have this character."""
    return unicodedata.category(character)[0] in _IN_WORDS


def small_letter(character: str) -> str:
    """Return a character in lower case: one character, as Unicode's simple mapping gives it.

    One that would take more bytes in UTF-8 stays as it is: a text does not grow.
    """
    small = character.lower()[0]
    return small if len(small.encode()) <= len(character.encode()) else character


@cache
def letter_tables() -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """Return what is known of all code points.

    Returns:
        (4352,) int16, the page of each block of 256 code points, and (pages * 256,) int32, for each code point of a
        page: 0 if no word has it, else 1 + 2 * (its small letter - itself).
    """
    pages: dict[tuple[int, ...], int] = {}
    blocks = [pages.setdefault(entries, len(pages)) for entries in _blocks()]
    return np.array(blocks, np.int16), np.array(list(pages), np.int32).ravel()


def _blocks() -> Iterator[tuple[int, ...]]:
    """Yield the entries of each block; of those without letters, or of nothing but letters, at once."""
    for start in range(0, CODE_POINTS, PAGE):
        characters = "" if start in _SURROGATES else "".join(map(chr, range(start, start + PAGE)))
        kinds = {category[0] for category in map(unicodedata.category, characters)}
        if not kinds & set(_IN_WORDS):
            yield (0,) * PAGE
        elif kinds <= set(_IN_WORDS) and characters.lower() == characters:
            yield (1,) * PAGE
        else:
            yield tuple(map(_entry, characters))


def _entry(character: str) -> int:
    return 1 + 2 * (ord(small_letter(character)) - ord(character)) if in_words(character) else 0
