"""Byte n-grams of words, hashed: they need no vocabulary, and find parts of words in scripts without spaces."""

import torch
from torch import Tensor
from torch.nn import functional

from cl_core.modalities._word_finder import MASKED, PRIME

SIZES = (3, 4, 5)
"""Bytes of an n-gram; the edge of a word counts as one."""

EDGE = 0x20
# Of the polynomials: one for each size.
BASES = (69_069, 1_664_525, 22_695_477)


def ngrams_of_length(length: int) -> int:
    """Return how many n-grams a text of so many bytes has at most."""
    return sum(length + 3 - size for size in SIZES)


def ngram_buckets(words: Tensor, *, buckets: int) -> Tensor:
    """Return the bucket of each n-gram, 1 to `buckets`; 0 where there is none.

    An n-gram is of one word with a blank before and behind it, as those of scikit-learn's analyzer `char_wb`. Masked
    words have none.

    Args:
        words: (N, L) int32, as `WordFinder` finds them.
        buckets: B.

    Returns:
        (N, ngrams_of_length(L)) int64: those of three bytes by where they begin, then those of four, then of five.
    """
    inside = functional.pad((words > 0) & (words != MASKED), (1, 1))
    spaced = functional.pad(torch.where(words > 0, words, EDGE).long(), (1, 1), value=EDGE)
    found = []
    for size, base in zip(SIZES, BASES, strict=True):
        count = spaced.shape[1] + 1 - size
        total = sum(spaced[:, at : at + count] * pow(base, at + 1, PRIME) for at in range(size))
        is_ngram = inside[:, 1 : 1 + count]
        for at in range(2, size - 1):
            is_ngram = is_ngram & inside[:, at : at + count]
        found.append(torch.where(is_ngram, total % PRIME % buckets + 1, 0))
    return torch.cat(found, dim=1)
