"""What turns cached texts into what encoders take: ids of words and of byte n-grams."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cl_core.columns import Batch
from cl_core.modalities import ArraySpec
from cl_core.modalities._byte_ngrams import ngram_buckets, ngrams_of_length
from cl_core.modalities._processor import Processor
from cl_core.modalities._word_finder import WordFinder, keys_of, most_words
from cl_core.parallel.compiling import why_not_compiled

PADDING, UNKNOWN, FIRST = 0, 1, 2
"""Ids of words: of none, of one that is masked or not in the vocabulary, and of the first of the vocabulary."""

MOST_IDS = 1 << 22
"""Of words, and of buckets: float32, in which views are, counts to four times as many."""

KEY_STEPS = 1 << 24
"""A noise key is a multiple of 1 / KEY_STEPS, above 0 and at most 1."""


class TextLayout(NamedTuple):
    """Where the parts of a view of texts are: noise key, bytes, ids of words, and buckets of n-grams.

    Args:
        length: L, bytes of a text.
        words: Ids of words, `PADDING` and `UNKNOWN` among them.
        buckets: Of n-grams, numbered from 1; 0 without n-grams.
    """

    length: int
    words: int
    buckets: int

    @property
    def most_words(self) -> int:
        """W, words that a text of L bytes has at most."""
        return most_words(self.length)

    @property
    def most_ngrams(self) -> int:
        """G, n-grams that a text of L bytes has at most."""
        return ngrams_of_length(self.length) if self.buckets else 0

    @property
    def view_shape(self) -> tuple[int, ...]:
        """(1 + L + W + G,)."""
        return (1 + self.length + self.most_words + self.most_ngrams,)

    def noise_keys(self, views: Tensor) -> Tensor:
        """Return (N,) int64, 1 to KEY_STEPS; 0 where nothing is dropped out."""
        return (views[:, 0] * KEY_STEPS).long()

    def texts(self, views: Tensor) -> Tensor:
        """Return (N, L) uint8, padded with 0."""
        return views[:, 1 : 1 + self.length].byte()

    def word_ids(self, views: Tensor) -> Tensor:
        """Return (N, W) int64 in the order of the text, behind them PADDING."""
        return views[:, 1 + self.length :][:, : self.most_words].long()

    def ngram_ids(self, views: Tensor) -> Tensor:
        """Return (N, G) int64: 1 to `buckets`, and 0 where there is no n-gram."""
        return views[:, 1 + self.length + self.most_words :].long()


class TextProcessor(Processor):
    """Find the words of texts and look them up in a vocabulary; hash the byte n-grams of words into buckets.

    A view is float32, as those of other samples are. It holds the text itself, so that it can be turned back.

    Args:
        length: L, bytes of a text.
        vocabulary: (K,) int64, the keys of its words, rising; one or more.
        idf: (2 + K + buckets,) float32, the inverse document frequency of each id of a word, then of each bucket.
        tables: What `letter_tables` gives, or gave when the vocabulary was fitted.
        unknown_share: Of the words of the training split that are not in the vocabulary.
    """

    is_symbolic = True
    vocabulary: Tensor
    idf: Tensor
    unknown_share: Tensor

    def __init__(
        self,
        length: int,
        vocabulary: NDArray[np.int64],
        idf: NDArray[np.float32],
        *,
        tables: tuple[NDArray[np.int16], NDArray[np.int32]],
        unknown_share: float,
    ) -> None:
        super().__init__((ArraySpec("uint8", (length,)),))
        words = FIRST + len(vocabulary)
        self.layout = TextLayout(length, words, len(idf) - words)
        self.finder = WordFinder(length, *tables)
        self._has_kernel = not why_not_compiled()
        self.register_buffer("vocabulary", torch.tensor(vocabulary))
        self.register_buffer("idf", torch.tensor(idf))
        self.register_buffer("unknown_share", torch.tensor([unknown_share]))

    @property
    def view_shape(self) -> tuple[int, ...]:
        """(1 + L + W + G,): see `TextLayout`."""
        return self.layout.view_shape

    def values(self, rows: Batch) -> Tensor:
        """Turn (..., L) uint8 into (..., 1 + L + W + G) float32, without noise; see `TextLayout`."""
        (texts,) = rows
        flat = texts.reshape(-1, self.layout.length)
        # An exported program holds the tensor operations, which give the same numbers.
        is_run_here = flat.device.type == "cpu" and not torch.compiler.is_compiling()
        views = self._in_one_pass(flat) if self._has_kernel and is_run_here else self._by_operations(flat)
        return views.reshape(*texts.shape[:-1], *self.view_shape)

    def _in_one_pass(self, flat: Tensor) -> Tensor:
        from cl_core.modalities._text_kernel import text_kernel

        views = np.zeros((len(flat), *self.view_shape), np.float32)
        tables = (self.finder.pages, self.finder.letters, self.finder.powers, self.vocabulary)
        text_kernel()(flat.contiguous().numpy(), *(one.numpy() for one in tables), self.layout.buckets, views)
        return torch.from_numpy(views)

    def _by_operations(self, flat: Tensor) -> Tensor:
        words = self.finder(flat)
        parts = [torch.zeros_like(flat[:, :1]), flat, self._ids(keys_of(self.finder.hashes(words, count=2)))]
        if self.layout.buckets:
            parts.append(ngram_buckets(words, buckets=self.layout.buckets))
        return torch.cat([part.to(torch.float32) for part in parts], dim=1)

    def view(self, values: Tensor) -> Tensor:
        """Return the values as they are."""
        return values

    def restored(self, views: Tensor) -> Batch:
        """Return the texts of (N, 1 + L + W + G) views, without their noise keys."""
        return (self.layout.texts(views),)

    def _ids(self, keys: Tensor) -> Tensor:
        """Return the id of each word by its key, (N, W) both."""
        places = torch.searchsorted(self.vocabulary, keys).clamp(max=len(self.vocabulary) - 1)
        known = torch.where(self.vocabulary[places] == keys, places + FIRST, UNKNOWN)
        return torch.where(keys > 0, known, PADDING)
