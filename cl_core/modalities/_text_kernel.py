"""The views of texts in one pass over their bytes: the same numbers as the tensor operations give, many times faster.

`WordFinder`, `ngram_buckets` and `TextProcessor` say what is computed, and a test compares the two.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from cl_core.modalities._byte_ngrams import BASES, EDGE, SIZES
from cl_core.modalities._text_processor import FIRST, UNKNOWN
from cl_core.modalities._word_finder import BITS, MASKED, PRIME, most_words
from cl_core.parallel.compiling import compiled, inner

_SHORTEST, _LONGEST = SIZES[0], SIZES[-1]
_POWERS = np.array([[pow(base, at + 1, PRIME) for at in range(_LONGEST)] for base in BASES], np.int64)
_LAST_CODE_POINT = 0x10FFFF
_most_words = inner(most_words)


@cache
def text_kernel() -> Callable[..., None]:
    """Return `_make_views`, compiled; call this in one thread first."""
    texts, pages, letters = types.uint8[:, ::1], types.int16[::1], types.int32[::1]
    powers, vocabulary, views = types.int64[:, ::1], types.int64[::1], types.float32[:, ::1]
    return compiled(_make_views, texts, pages, letters, powers, vocabulary, types.int64, views)


def _make_views(texts: Any, pages: Any, letters: Any, powers: Any, vocabulary: Any, buckets: int, views: Any) -> None:
    """Write views without noise.

    Args:
        texts: (N, L) uint8, padded with 0.
        pages: As `letter_tables` gives it.
        letters: As `letter_tables` gives it.
        powers: (2 or more, L) int64, of the polynomials that are a word's key.
        vocabulary: (K,) int64 keys, rising.
        buckets: Of n-grams; 0 without.
        views: (N, 1 + L + W + G) float32, zeros: see `TextLayout`.
    """
    length = texts.shape[1]
    words = np.zeros(length + 1, np.uint8)
    for number in range(len(texts)):
        text, view = texts[number], views[number]
        for at in range(length):
            view[1 + at] = text[at]
        end = _lowered(text, pages, letters, words)
        count = _look_up(words, end, powers, vocabulary, view[1 + length :])
        if count > 0 and buckets > 0:
            _hash_ngrams(words, end, length, buckets, view[1 + length + _most_words(length) :])


@inner
def _lowered(text: Any, pages: Any, letters: Any, words: Any) -> int:
    """Write the bytes of words in lower case, 0 between words; return how many bytes of text there are."""
    length, at, end = len(text), 0, 0
    while length > 0 and text[length - 1] == 0:
        length -= 1
    while at < length:
        first = text[at]
        size: Any = 0
        code: Any = 0
        if first < 0x80:
            size, code = 1, np.int64(first)
        elif first >> 5 == 0b110:
            size, code = 2, np.int64(first & 0x1F)
        elif first >> 4 == 0b1110:
            size, code = 3, np.int64(first & 0x0F)
        elif first >> 3 == 0b11110:
            size, code = 4, np.int64(first & 0x07)
        for number in range(1, size):
            following = text[at + number] if at + number < length else np.uint8(0)
            if following >> 6 != 0b10:
                size = 0
                break
            code = code << 6 | np.int64(following & 0x3F)
        if size == 0:
            words[end] = MASKED if first == MASKED else 0
            at, end = at + 1, end + 1
            continue
        code = min(code, _LAST_CODE_POINT)
        entry = letters[np.int64(pages[code >> 8]) << 8 | code & 0xFF]
        if entry == 0:
            for _ in range(size):
                words[end] = 0
                end += 1
        else:
            end = _encoded(code + (np.int64(entry) >> 1), words, end)
        at += size
    return end


@inner
def _encoded(code: int, words: Any, end: int) -> int:
    """Write a code point in UTF-8; return where the next one goes."""
    if code < 0x80:
        words[end] = code
        return end + 1
    size = 2 + (code >= 0x800) + (code >= 0x10000)
    words[end] = (0xF00 >> size) & 0xFF | code >> 6 * (size - 1)
    for number in range(1, size):
        words[end + number] = 0x80 | code >> 6 * (size - 1 - number) & 0x3F
    return end + size


@inner
def _look_up(words: Any, end: int, powers: Any, vocabulary: Any, ids: Any) -> int:
    """Write the id of each word; return how many there are."""
    count, at = 0, 0
    while at < end:
        if words[at] == 0:
            at += 1
            continue
        start = at
        first: Any = np.int64(0)
        second: Any = np.int64(0)
        while at < end and words[at] != 0:
            byte = np.int64(words[at])
            first += byte * powers[0, at - start]
            second += byte * powers[1, at - start]
            at += 1
        key = first % PRIME << BITS | second % PRIME
        if key > 0:
            low, high = 0, len(vocabulary)
            while low < high:
                middle = (low + high) // 2
                if vocabulary[middle] < key:
                    low = middle + 1
                else:
                    high = middle
            is_known = low < len(vocabulary) and vocabulary[low] == key
            ids[count] = low + FIRST if is_known else UNKNOWN
        count += 1
    return count


@inner
def _hash_ngrams(words: Any, end: int, length: int, buckets: int, ids: Any) -> None:
    """Write the bucket of each n-gram: those of the fewest bytes by where they begin, then those of one more."""
    for start in range(end):
        offset = 0
        for kind in range(len(SIZES)):
            size = _SHORTEST + kind
            # A blank is before the text and behind it, so its first byte has number 1.
            last = start + size - 2
            if last > end:
                break
            is_ngram, total = True, np.int64(0)
            for at in range(size):
                place = start - 1 + at
                byte = np.int64(words[place]) if 0 <= place < end else np.int64(0)
                if 0 < at < size - 1 and (byte == 0 or byte == MASKED):
                    is_ngram = False
                    break
                total += (byte if byte > 0 else np.int64(EDGE)) * _POWERS[kind, at]
            if is_ngram:
                ids[offset + start] = total % PRIME % buckets + 1
            offset += length + 3 - size
