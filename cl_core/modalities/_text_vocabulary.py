"""The vocabulary of a training split, and in how many of its texts each word and each n-gram is."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from cl_core.errors import DataError
from cl_core.modalities._byte_ngrams import ngram_buckets
from cl_core.modalities._letters import letter_tables
from cl_core.modalities._text_processor import TextProcessor
from cl_core.modalities._text_profile import STEP
from cl_core.modalities._word_finder import WordFinder, keys_of

I64 = NDArray[np.int64]

# N-grams are counted in so many texts, the first by id, which is a random sample: more would not change the weights
# that are learned from there on.
_NGRAM_TEXTS = 1 << 17


class WordCounts(NamedTuple):
    """Words of some texts, sorted by key; two words with one key differ in their checks."""

    keys: I64
    checks: I64
    texts: I64  # In how many texts it is.
    words: I64  # How often it is there.

    @classmethod
    def of(cls, keys: I64, checks: I64, texts: I64) -> Self:
        """Count words, (M,) all three; `texts` is the number of the text that a word is in."""
        order = np.lexsort((texts, checks, keys))
        keys, checks, texts = keys[order], checks[order], texts[order]
        is_word = _changes(keys, checks)
        in_text = is_word | _changes(texts)
        return cls(keys[is_word], checks[is_word], _sums(in_text, is_word), _sums(np.ones_like(in_text), is_word))

    @classmethod
    def together(cls, counts: Sequence[Self]) -> Self:
        """Return the words of all texts; no text is in two of these."""
        keys, checks, texts, words = map(np.concatenate, zip(*counts, strict=True))
        order = np.lexsort((checks, keys))
        keys, checks = keys[order], checks[order]
        first = _changes(keys, checks)
        return cls(keys[first], checks[first], _sums(texts[order], first), _sums(words[order], first))


class Frequencies(NamedTuple):
    """What is known of the words and n-grams of a training split."""

    texts: int  # N, how many there are.
    counts: WordCounts
    unigrams: int  # How many words they have.
    buckets: I64  # (buckets,) in how many texts an n-gram of each is, had all been counted.


def fit_texts(
    blocks: Iterable[NDArray[np.uint8]], length: int, *, vocabulary: int, least_texts: int, buckets: int
) -> TextProcessor:
    """Fit a processor to texts, (n, length) uint8 in each block; the other options are those of `Texts`.

    Raises:
        DataError: When two words of the vocabulary have one hash.
    """
    tables = letter_tables()
    with _one_thread():
        found = count_frequencies(blocks, WordFinder(length, *tables), buckets=buckets)
    chosen = chosen_words(found.counts, most=vocabulary, least_texts=least_texts)
    keys, texts_with = found.counts.keys[chosen], found.counts.texts[chosen]
    if not len(chosen):  # No word has this key: a vocabulary is never empty.
        keys, texts_with = np.array([-1]), np.array([0])
    # Padding weighs nothing, and a word that is not in the vocabulary as much as one that is in no text.
    frequencies = np.concatenate([[0, 0], texts_with, found.buckets]).astype(np.int64)
    idf = inverse_document_frequency(frequencies, found.texts)
    idf[0] = 0
    known = int(found.counts.words[chosen].sum())
    return TextProcessor(length, keys, idf, tables=tables, unknown_share=1 - known / max(1, found.unigrams))


def count_frequencies(blocks: Iterable[NDArray[np.uint8]], finder: WordFinder, *, buckets: int) -> Frequencies:
    """Count the words and n-grams of texts, (n, L) uint8 in each block. Memory is that of the distinct words."""
    none = np.empty(0, np.int64)
    counts, waiting, total, counted = WordCounts(none, none, none, none), list[WordCounts](), 0, 0
    ngrams = np.zeros(buckets, np.int64)
    for block in blocks:
        with torch.inference_mode():
            words = finder(torch.from_numpy(_without_padding(block)))
            hashes = finder.hashes(words, count=3)
            if buckets and total < _NGRAM_TEXTS:
                ngrams += _texts_with(ngram_buckets(words, buckets=buckets).numpy(), buckets)
                counted += len(block)
            keys, checks = keys_of(hashes).numpy(), hashes[:, 2].numpy()
        texts, places = np.nonzero(keys)
        waiting.append(WordCounts.of(keys[texts, places], checks[texts, places], texts))
        total += len(block)
        # Merged when as much is waiting as is merged: then a word is sorted a few times, however many blocks there are.
        if sum(len(one.keys) for one in waiting) > len(counts.keys):
            counts, waiting = WordCounts.together([counts, *waiting]), []
    counts = WordCounts.together([counts, *waiting])
    return Frequencies(total, counts, int(counts.words.sum()), ngrams * total // max(1, counted))


def chosen_words(counts: WordCounts, *, most: int, least_texts: int) -> I64:
    """Return which words are in the vocabulary: those of the most texts, of equals the least key; by rising key.

    Raises:
        DataError: When two words have one key, so that no program could tell them apart.
    """
    order = np.lexsort((counts.keys, -counts.texts))
    chosen = np.sort(order[counts.texts[order] >= least_texts][:most])
    if twice := int((np.diff(counts.keys[chosen]) == 0).sum()):
        raise DataError(
            f"data.modality_options.vocabulary: {twice} of {len(chosen):,} words have the same hash as another word, "
            "so a model could not tell them apart; lower vocabulary, or raise least_texts"
        )
    return chosen


def inverse_document_frequency(texts_with: I64, texts: int) -> NDArray[np.float32]:
    """Return ln((1 + N) / (1 + n)) + 1 of what is in n of N texts.

    Source: scikit-learn's TfidfTransformer with `smooth_idf`. Differences: none.
    """
    return (np.log((1 + texts) / (1 + texts_with)) + 1).astype(np.float32)


def _texts_with(ids: I64, buckets: int) -> I64:
    """Return (buckets,) in how many rows of (n, G) ids each is, which count from 1."""
    texts, places = np.nonzero(ids)
    pairs = np.sort(texts * buckets + ids[texts, places] - 1)
    return np.bincount(pairs[_changes(pairs)] % buckets, minlength=buckets)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread: blocks are small, and threads that wait for each other take most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _without_padding(block: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (n, L) texts up to the end of the longest one: most texts are much shorter than a model reads."""
    ends = np.flatnonzero(block.any(axis=0))
    return np.ascontiguousarray(block[:, : max(STEP, ends[-1] + 1)]) if len(ends) else block


def _changes(*columns: I64) -> NDArray[np.bool_]:
    """Return where a row differs from the one before it; the first row does."""
    changes = np.ones(len(columns[0]), np.bool_)
    changes[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return changes


def _sums(values: I64 | NDArray[np.bool_], first: NDArray[np.bool_]) -> I64:
    """Return the sums of runs of values, each from one `first` to the next."""
    starts = np.flatnonzero(first)
    return np.add.reduceat(values.astype(np.int64), starts) if len(starts) else np.empty(0, np.int64)
