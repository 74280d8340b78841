"""The second side of a pair found by the first, and the first by the second: a score of pairs that needs no labels."""

from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from cl_core.errors import DataError
from cl_core.evaluation.protocols import Evaluation, Features, LabelCounts, Outcome
from cl_core.evaluation.protocols._own_ranks import own_ranks
from cl_core.registry import EVALUATIONS


@EVALUATIONS.register("pair_retrieval")
class PairRetrieval(Evaluation):
    """How often the second side of a test pair is among the k most similar to its first side, and the other way round.

    Candidates are the second sides of all test pairs, each once however many pairs have it. Backward, the second side
    searches the first sides; one of its own pairs has to be among the k. Of equal similarities the own one comes last.

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

    def fitted_to(self, labels: LabelCounts) -> Self:
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
        first, second = test.embeddings.take(chosen), test.second.embeddings.take(chosen)
        identities = test.second.identities
        of = np.arange(len(chosen)) if identities is None else np.unique(identities[chosen], return_inverse=True)[1]
        # The first pair of each second side: what is equal is one candidate forward, and one query backward.
        once = np.unique(of, return_index=True)[1]
        forward = own_ranks(first, second[once], of, of[once])
        backward = np.full(len(chosen), np.nan)
        backward[once] = own_ranks(second[once], first, of[once], of)
        values = {f"pair_retrieval.recall_at_{k}": (forward < k).astype(np.float64) for k in self.ks}
        values |= {
            f"pair_retrieval.backward_recall_at_{k}": np.where(np.isnan(backward), np.nan, backward < k)
            for k in self.ks
        }
        values["pair_retrieval.reciprocal_rank"] = 1 / (1 + forward)
        return Outcome.of_samples(values, chosen, len(test.ids), resamples=resamples, seed=seed)
