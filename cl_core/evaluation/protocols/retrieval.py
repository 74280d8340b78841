"""Samples of the same class, or the same group, among the most similar ones."""

from typing import ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field

from cl_core.errors import DataError
from cl_core.evaluation.protocols import EvaluatedData, Evaluation, Features, Outcome, label_counts
from cl_core.registry import EVALUATIONS

# Cosines that are held at a time: 16 MiB.
_COSINES = 1 << 22


@EVALUATIONS.register("retrieval")
class Retrieval(Evaluation):
    """Each test sample searches the others for those of its class, or of its group: recall at k, and mean precision.

    Recall at k is the share of samples with one of their class among the k most similar. The average precision of a
    sample is the mean, over all others of its class, of the share of its class down to that rank. A sample that is
    alone in its class has none. Samples of one `data.group`, such as the pictures of one product, may stand for a
    class; then no label is needed.

    Source: Manning et al. 2008, "Introduction to information retrieval", Sec. 8.4; recall as in Song et al. 2016,
    "Deep metric learning via lifted structured feature embedding", arXiv:1511.06452, Sec. 6. Differences: none.
    """

    needs_labels: ClassVar[bool] = True
    reads_training: ClassVar[bool] = False

    by: Literal["label", "group"] = "label"
    """What has to be equal: the label, or the group of `data.group`, which needs no labels."""
    ks: tuple[int, ...] = Field((1, 10), min_length=1, title="Ranks")
    """Each k gives a score `retrieval.recall_at_K`. Samples."""
    samples: int = Field(5000, ge=2, le=50_000)
    """Maximum number of test samples, those with the smallest content hashes. Time grows with its square."""

    @property
    def uses_labels(self) -> bool:
        """Whether labels decide what belongs together."""
        return self.by == "label"

    @property
    def predictors(self) -> tuple[str, ...]:
        """It predicts no classes."""
        return ()

    @property
    def per_sample_scores(self) -> tuple[str, ...]:
        """One for each k, and the mean average precision."""
        return (*(f"retrieval.recall_at_{k}" for k in self.ks), "retrieval.mean_average_precision")

    def fitted_to(self, labels: EvaluatedData) -> Self:
        """Refuse data without groups, or a test split in which each sample is alone in its class.

        Raises:
            DataError: With what to do.
        """
        if not self.uses_labels and not labels.grouped:
            raise DataError(
                "evaluation.options.retrieval.by: 'group' needs samples with groups, and data.group is not set; set it "
                "(column:NAME, folder:N or pattern:REGEX), or search by label"
            )
        if self.uses_labels and max(labels.test.values(), default=0) < 2:
            raise DataError(
                f"retrieval needs a class with two test samples or more; each of the {len(labels.test)} classes has at "
                "most one: give more samples a label, or leave retrieval out of evaluation.protocols"
            )
        return self

    def __call__(self, train: Features, test: Features, *, classes: list[str], resamples: int, seed: int) -> Outcome:
        """Measure the test samples that have a label or a group; training features are not used."""
        if self.uses_labels:
            test.labeled("test")
        self.fitted_to(label_counts(train, test, classes))
        alike = test.groups
        if test.identities is not None and not self.uses_labels:
            alike = np.unique(test.identities, return_inverse=True)[1]
        known = np.flatnonzero(alike >= 0)
        chosen = known[np.argsort(test.sample_ids[known], kind="stable")[: self.samples]]
        hits, precision = searched(test.embeddings.take(chosen), alike[chosen], ks=self.ks)
        values = {f"retrieval.recall_at_{k}": hits[:, column] for column, k in enumerate(self.ks)}
        values["retrieval.mean_average_precision"] = precision
        return Outcome.of_samples(values, chosen, len(test.ids), resamples=resamples, seed=seed)


def searched(
    embeddings: NDArray[np.float32], groups: NDArray[np.int64], *, ks: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what each sample finds among the others, by cosine; of equal ones the earlier first.

    Args:
        embeddings: (N, D) float32.
        groups: (N,) class of each.
        ks: Ranks.

    Returns:
        (N, K) 1 where one of the same class is among the k nearest, and (N,) the average precision; NaN for a sample
        that is alone in its class.
    """
    unit, of = F.normalize(torch.tensor(embeddings), dim=1), torch.from_numpy(groups)
    rows = max(1, _COSINES // len(unit))
    hits, precisions = [], []
    for start in range(0, len(unit), rows):
        cosines = unit[start : start + rows] @ unit.T
        itself = torch.arange(start, start + len(cosines))
        cosines[torch.arange(len(cosines)), itself] = -torch.inf
        order = cosines.argsort(dim=1, descending=True, stable=True)[:, :-1]
        same = (of[order] == of[itself][:, None]).double()
        found = same.cumsum(dim=1)
        ranks = torch.arange(1, same.shape[1] + 1)
        total = found[:, -1]
        precision = (same * found / ranks).sum(dim=1) / total
        alone = total == 0
        columns = torch.stack([(found[:, min(k, len(ranks)) - 1] > 0).double() for k in ks], dim=1)
        columns[alone] = torch.nan
        hits.append(columns)
        precisions.append(torch.where(alone, torch.nan, precision))
    return torch.cat(hits).numpy(), torch.cat(precisions).numpy()
