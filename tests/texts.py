"""Texts as they are cached, and a second way to find their words: Python's own, character by character."""

import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch

from cl_core.columns import Columns, RaggedColumn, Split
from cl_core.modalities._letters import letter_tables
from cl_core.modalities._text_processor import TextProcessor
from cl_core.modalities._word_finder import WordFinder
from cl_core.modalities.text import Texts

LENGTH = 64


def payloads_of(texts: Sequence[str | bytes]) -> list[bytes]:
    return [text if isinstance(text, bytes) else text.encode() for text in texts]


def rows_of(texts: Sequence[str | bytes], length: int = LENGTH) -> torch.Tensor:
    """Return (N, length) uint8, cut off and padded with 0."""
    rows = np.zeros((len(texts), length), np.uint8)
    for row, payload in zip(rows, payloads_of(texts), strict=True):
        row[: len(payload)] = np.frombuffer(payload[:length], np.uint8)
    return torch.from_numpy(rows)


def split_of_texts(texts: Sequence[str | bytes], length: int = LENGTH) -> Split:
    values = [np.frombuffer(payload[:length], np.uint8) for payload in payloads_of(texts)]
    offsets = np.cumsum([0, *map(len, values)])
    column = RaggedColumn(np.concatenate(values), offsets, longest=length)
    ids = np.zeros((len(texts), 32), np.uint8)
    return Split(Columns({"text": column}), ids, np.arange(len(texts), dtype=np.uint64), None)


def fitted_to(texts: Sequence[str | bytes], **options) -> TextProcessor:
    modality = Texts(**{"length": LENGTH, "least_texts": 1, "buckets": 64, **options})
    return modality.fit_processor(split_of_texts(texts, modality.length), {})


@cache
def finder(length: int = LENGTH) -> WordFinder:
    return WordFinder(length, *letter_tables())


def words_of(text: str) -> list[str]:
    """Return runs of letters, marks and numbers, in lower case."""
    spaced = (character if unicodedata.category(character)[0] in "LMN" else " " for character in text)
    return "".join(map(lowered, spaced)).split(" ") if text else []


def lowered(character: str) -> str:
    """Return the lower case by Unicode's simple mapping, unless it is longer in UTF-8."""
    small = "i" if character == "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}" else character.lower()
    return small if len(small.encode()) <= len(character.encode()) else character
