"""A sample found by its other view: a score that needs no labels."""

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field

from cl_core.evaluation.bootstrap import per_sample_score
from cl_core.evaluation.protocols import Evaluation, Features, Outcome
from cl_core.registry import EVALUATIONS

# Cosines that are held at a time: 16 MiB.
_COSINES = 1 << 22


@EVALUATIONS.register("view_retrieval")
class ViewRetrieval(Evaluation):
    """How often the other view of a test sample is among the k views most similar to its first view.

    The views are those of the modality, the same for every model: never those that a training has used. Of equal
    similarities the own one comes last, so that embeddings that have collapsed find nothing.

    Source: the instance discrimination of Wu et al. 2018, "Unsupervised feature learning via non-parametric instance
    discrimination", arXiv:1805.01978, as a score. Differences: it is of held-out samples, and not trained for.
    """

    needs_labels: ClassVar[bool] = False

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
        ranks = own_ranks(*test.views)
        found = {f"view_retrieval.recall_at_{k}": (ranks < k).astype(np.float64) for k in self.ks}
        found["view_retrieval.reciprocal_rank"] = 1 / (1 + ranks)
        # Views are of the first test samples; the others have no score.
        beyond = np.full(len(test.ids) - len(ranks), np.nan)
        return Outcome(
            scores={name: per_sample_score(values, resamples=resamples, seed=seed) for name, values in found.items()},
            per_sample={name: np.concatenate([values, beyond]) for name, values in found.items()},
        )


def own_ranks(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return how many of the second views are as similar to each first view as its own, or more, beside its own.

    Args:
        first: (M, D) float32, row i a view of sample i.
        second: (M, D) float32, row i another view of sample i.

    Returns:
        (M,) int64, 0 where the own view is nearest.
    """
    queries, bank = (F.normalize(torch.tensor(views), dim=1) for views in (first, second))
    rows = max(1, _COSINES // len(bank))
    ranks = []
    for start in range(0, len(queries), rows):
        cosines = queries[start : start + rows] @ bank.T
        own = cosines[torch.arange(len(cosines)), torch.arange(start, start + len(cosines))]
        ranks.append((cosines >= own[:, None]).sum(dim=1) - 1)
    return torch.cat(ranks).numpy()
