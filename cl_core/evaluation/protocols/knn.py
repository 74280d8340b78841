"""Weighted nearest neighbors: how well neighborhoods of the features match the classes, without training."""

from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field

from cl_core.errors import SpecError
from cl_core.evaluation.bootstrap import accuracy_score
from cl_core.evaluation.nearest import nearest, vote
from cl_core.evaluation.protocols import Evaluation, Features, Outcome
from cl_core.registry import EVALUATIONS


@EVALUATIONS.register("knn")
class Knn(Evaluation):
    """Each test sample gets the class with the greatest vote among its k most similar training samples.

    A neighbor votes with exp(cosine / temperature).

    Source: Wu et al. 2018, "Unsupervised feature learning via non-parametric instance discrimination",
    arXiv:1805.01978, Sec. 3.4. Differences: ties of similarity go to the sample with the lesser content hash.
    """

    needs_labels: ClassVar[bool] = True

    ks: tuple[Annotated[int, Field(ge=1)], ...] = Field((20, 200), min_length=1, title="Neighbors")
    """Each k gives a score `knn_K.accuracy`. Samples."""
    temperature: float = Field(0.1, ge=0.01)
    """Divides the cosine in a neighbor's vote. Dimensionless."""

    def __call__(self, train: Features, test: Features, *, classes: list[str], resamples: int, seed: int) -> Outcome:
        """Classify the test samples; see `Evaluation`.

        Raises:
            SpecError: When k exceeds the number of labeled training samples.
        """
        train = train.labeled("training")
        test.labeled("test")
        if max(self.ks) > len(train.ids):
            raise SpecError(
                f"evaluation.options.knn.ks: {max(self.ks)} neighbors requested, but the training split has only "
                f"{len(train.ids)} labeled samples; choose at most {len(train.ids)}"
            )
        order = np.lexsort(train.ids.T[::-1])
        bank, queries = (torch.tensor(rows) for rows in (train.embeddings[order], test.embeddings))
        neighbors = nearest(queries, bank, k=max(self.ks))
        groups = torch.from_numpy(train.groups[order])

        scored = test.groups >= 0
        outcome = Outcome(scores={})
        for k in self.ks:
            predicted = vote(neighbors, groups, k=k, classes=len(classes), temperature=self.temperature).numpy()
            right = (predicted == test.groups)[scored]
            outcome.scores[f"knn_{k}.accuracy"] = accuracy_score(right)
            outcome.predictions[f"knn_{k}"] = predicted
        return outcome
