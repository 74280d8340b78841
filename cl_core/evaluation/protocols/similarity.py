"""Similarity of texts as people see it: rank correlation of cosines with ratings of pairs."""

import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cl_core.data.path_roots import confined
from cl_core.errors import DataError
from cl_core.evaluation.bootstrap import resample_counts, score
from cl_core.evaluation.protocols import EvaluatedData, Evaluation, Features, Outcome
from cl_core.evaluation.protocols._rated_pairs import RatedPairs, read_rated_pairs
from cl_core.hashing import digest_of
from cl_core.registry import EVALUATIONS

_FIELD = "evaluation.options.similarity"

F64 = NDArray[np.float64]


@EVALUATIONS.register("similarity")
class Similarity(Evaluation):
    """Spearman's rank correlation between the cosines of pairs of texts and how alike people have rated them.

    The pairs are in a file of their own: CSV, TSV, Parquet or JSON lines, with two texts and a rating in each row. The
    interval is over pairs.

    Source: the evaluation of Reimers and Gurevych 2019, "Sentence-BERT: Sentence embeddings using Siamese
    BERT-networks", arXiv:1908.10084, Sec. 4.1. Differences: none.
    """

    needs_labels: ClassVar[bool] = False
    reads_training: ClassVar[bool] = False

    pairs: str = ""
    """File of the rated pairs."""
    first_column: str = Field("first", min_length=1)
    """Column of one text."""
    second_column: str = Field("second", min_length=1)
    """Column of the other text."""
    rating_column: str = Field("rating", min_length=1)
    """Column of the rating, a number: higher for texts that are more alike."""

    @property
    def predictors(self) -> tuple[str, ...]:
        """It predicts no classes."""
        return ()

    @property
    def inputs_digest(self) -> str:
        """Digest of the pairs and their ratings."""
        first, second, ratings = self._rated
        return digest_of([[hashlib.sha256(text).hexdigest() for text in [*first, *second]], ratings.tolist()])

    def fitted_to(self, labels: EvaluatedData) -> Self:
        """Refuse models that take no texts, and a file that does not hold rated pairs.

        Raises:
            DataError: With what to do.
        """
        if labels.takes[-1] != "text":
            raise DataError(
                f"evaluation.protocols: similarity is of texts, and models of these data take {labels.takes[-1]}s; "
                "leave similarity out"
            )
        _ = self._rated  # Reading it refuses what is none.
        return self

    def asked(self, classes: list[str]) -> list[bytes]:
        """Return the first texts of the pairs, then the second ones."""
        return [*self._rated.first, *self._rated.second]

    def __call__(self, train: Features, test: Features, *, classes: list[str], resamples: int, seed: int) -> Outcome:
        """Measure the texts of the pairs; samples, labels and classes are not used."""
        if "similarity" not in test.asked:
            return Outcome(scores={})
        unit = test.asked["similarity"].astype(np.float64)
        unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        first, second = np.split(unit, 2)
        correlation = spearman((first * second).sum(axis=1), self._rated.ratings)
        counts = resample_counts(len(first), resamples=resamples, seed=seed)
        resampled = np.concatenate([correlation(block.astype(np.float64)) for block in counts])
        value, resampled = (np.nan_to_num(of) for of in (correlation(np.ones((1, len(first))))[0], resampled))
        # Where cosines are all equal they say nothing of the ratings.
        return Outcome(scores={"similarity.spearman": score(float(value), resampled)})

    @cached_property
    def _rated(self) -> RatedPairs:
        """The pairs, read once, so that what is digested is what is measured, whatever becomes of the file."""
        if not self.pairs:
            raise DataError(f"{_FIELD}.pairs is empty; give a file with two texts and a rating in each row")
        columns = {"first": self.first_column, "second": self.second_column, "rating": self.rating_column}
        return read_rated_pairs(confined(self.pairs, field=f"{_FIELD}.pairs"), **columns, field=_FIELD)


def spearman(first: F64, second: F64) -> Callable[[F64], F64]:
    """Return a function from (R, N) counts of N samples in R resamples to (R,) rank correlations of two variables.

    Equal values have the mean of their ranks. NaN where one of the variables does not vary.

    Args:
        first: (N,) values.
        second: (N,) values.
    """
    ranks = [_mean_ranks(values) for values in (first, second)]

    def correlation(counts: F64) -> F64:
        one, other = (ranked(counts) for ranked in ranks)
        total = counts.sum(axis=1, keepdims=True)
        one, other = (rank - (counts * rank).sum(axis=1, keepdims=True) / total for rank in (one, other))
        spread = np.sqrt((counts * one**2).sum(axis=1) * (counts * other**2).sum(axis=1))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((counts * one * other).sum(axis=1) / spread)

    return correlation


def _mean_ranks(values: F64) -> Callable[[F64], F64]:
    """Return a function from (R, N) counts to (R, N) ranks of N values among so many copies of each."""
    order = np.argsort(values, kind="stable")
    group = np.cumsum(np.append(0, np.diff(values[order]) != 0))
    starts, of = np.searchsorted(group, np.arange(group[-1] + 1)), np.empty(len(values), np.int64)
    of[order] = group

    def ranks(counts: F64) -> F64:
        copies = np.add.reduceat(counts[:, order], starts, axis=1)
        return np.asarray((copies.cumsum(axis=1) - copies + (copies + 1) / 2)[:, of])

    return ranks
