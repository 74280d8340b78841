"""The second side of a pair found by the first, and the first by the second: a score of pairs that needs no labels."""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cl_core.errors import DataError
from cl_core.evaluation.protocols import EvaluatedData, Evaluation, Features, Outcome
from cl_core.evaluation.protocols._own_ranks import own_ranks
from cl_core.registry import EVALUATIONS


@EVALUATIONS.register("pair_retrieval")
class PairRetrieval(Evaluation):
    """How often the second side of a test pair is among the k most similar to its first side, and the other way round.

    Candidates are the second sides of all test pairs, each once however many pairs have it. What belongs to the same
    sample, such as another caption of an image, is right, too. Backward, each second side searches the first sides.
    Of equal similarities the own one comes last.

    Source: recall at k in both directions as in Karpathy and Fei-Fei 2015, "Deep visual-semantic alignments for
    generating image descriptions", arXiv:1412.2306, Sec. 4.1. Differences: equal second sides are one candidate.
    """

    needs_labels: ClassVar[bool] = False
    reads_training: ClassVar[bool] = False

    ks: tuple[int, ...] = Field((1, 10), min_length=1, title="Ranks")
    """Each k gives the scores `pair_retrieval.recall_at_K` and `pair_retrieval.backward_recall_at_K`. Candidates."""
    pairs: int = Field(20_000, ge=2, le=100_000)
    """Maximum number of test pairs, those with the smallest content hashes. Time grows with its square."""

    @property
    def predictors(self) -> tuple[str, ...]:
        """It predicts no classes."""
        return ()

    @property
    def per_sample_scores(self) -> tuple[str, ...]:
        """Two for each k, and the mean reciprocal rank of the second side."""
        directions = ("recall", "backward_recall")
        recalls = (f"pair_retrieval.{direction}_at_{k}" for direction in directions for k in self.ks)
        return (*recalls, "pair_retrieval.reciprocal_rank")

    def fitted_to(self, labels: EvaluatedData) -> Self:
        """Refuse samples that are no pairs.

        Raises:
            DataError: With what to do.
        """
        if not labels.paired:
            raise DataError(
                "evaluation.protocols: pair_retrieval needs pairs, and the data's modality has none; set data.modality "
                "to one of pairs, such as text_pair, or leave pair_retrieval out"
            )
        return self

    def __call__(self, train: Features, test: Features, *, classes: list[str], resamples: int, seed: int) -> Outcome:
        """Measure the test pairs; training features, labels and classes are not used."""
        if test.second is None:
            return Outcome(scores={})
        chosen = np.argsort(test.sample_ids, kind="stable")[: self.pairs]
        pairs = test.second
        first, second = test.embeddings.take(chosen), pairs.embeddings.take(chosen)
        of = chosen if pairs.identities is None else np.unique(pairs.identities[chosen], return_inverse=True)[1]
        # What is equal is one candidate: the first pair that has it represents all.
        firsts, seconds = (_once(of, same[chosen]) for same in (pairs.same_first, pairs.same_second))
        forward, backward = np.full((2, len(chosen)), np.nan)
        forward[firsts] = own_ranks(first[firsts], second[seconds], of[firsts], of[seconds])
        backward[seconds] = own_ranks(second[seconds], first[firsts], of[seconds], of[firsts])
        values = {
            f"pair_retrieval.{direction}_at_{k}": np.where(np.isnan(ranks), np.nan, ranks < k)
            for direction, ranks in {"recall": forward, "backward_recall": backward}.items()
            for k in self.ks
        }
        values["pair_retrieval.reciprocal_rank"] = 1 / (1 + forward)
        return Outcome.of_samples(values, chosen, len(test.ids), resamples=resamples, seed=seed)


def _once(of: NDArray[np.int64], same: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first position of each pair of values, (N,) both, in order."""
    return np.sort(np.unique(np.stack([of, same]), axis=1, return_index=True)[1])
