"""A sample found by its other view: a score that needs no labels."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from cl_core.evaluation.protocols import Evaluation, Features, Outcome
from cl_core.evaluation.protocols._own_ranks import own_ranks
from cl_core.registry import EVALUATIONS


@EVALUATIONS.register("view_retrieval")
class ViewRetrieval(Evaluation):
    """How often the other view of a test sample is among the k views most similar to its first view.

    The views are those of the modality, the same for every model: never those that a training has used. Of equal
    similarities the own one comes last, so that embeddings that have collapsed find nothing.

    Source: the instance discrimination of Wu et al. 2018, "Unsupervised feature learning via non-parametric instance
    discrimination", arXiv:1805.01978, as a score. Differences: it is of held-out samples, and not trained for.
    """

    needs_labels: ClassVar[bool] = False
    reads_training: ClassVar[bool] = False

    ks: tuple[int, ...] = Field((1, 10), min_length=1, title="Ranks")
    """Each k gives a score `view_retrieval.recall_at_K`. Views."""

    @property
    def predictors(self) -> tuple[str, ...]:
        """It predicts no classes."""
        return ()

    @property
    def per_sample_scores(self) -> tuple[str, ...]:
        """One for each k, and the mean reciprocal rank."""
        return (*(f"view_retrieval.recall_at_{k}" for k in self.ks), "view_retrieval.reciprocal_rank")

    def __call__(self, train: Features, test: Features, *, classes: list[str], resamples: int, seed: int) -> Outcome:
        """Measure the views of the test samples; training features, labels and classes are not used."""
        if test.views is None:
            return Outcome(scores={})
        of = np.arange(len(test.views[0]))
        ranks = own_ranks(*test.views, of, of)
        found = {f"view_retrieval.recall_at_{k}": (ranks < k).astype(np.float64) for k in self.ks}
        found["view_retrieval.reciprocal_rank"] = 1 / (1 + ranks)
        # Views are of the first test samples; the others have no score.
        return Outcome.of_samples(found, of, len(test.ids), resamples=resamples, seed=seed)
