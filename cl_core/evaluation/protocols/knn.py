"""Weighted nearest neighbors: how well neighborhoods of the features match the classes, without training."""

from typing import Annotated, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from cl_core.errors import SpecError
from cl_core.evaluation.bootstrap import accuracy_score
from cl_core.evaluation.nearest import nearest_in_blocks, vote
from cl_core.evaluation.protocols import EvaluatedData, Evaluation, Features, Outcome, label_counts
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
    """Each k gives a score `knn_K.accuracy`. The default is reduced to what the labeled training samples allow.
    Samples."""
    temperature: float = Field(0.1, ge=0.01)
    """Divides the cosine in a neighbor's vote. Dimensionless."""

    @property
    def predictors(self) -> tuple[str, ...]:
        """One for each k."""
        return tuple(f"knn_{k}" for k in self.ks)

    def fitted_to(self, labels: EvaluatedData) -> Self:
        """Leave out default ks above the number of labeled samples; if all are, take all samples as neighbors.

        Raises:
            SpecError: When a k that was given exceeds the number.
        """
        labeled = sum(labels.train.values())
        if max(self.ks) <= labeled:
            return self
        if "ks" in self.model_fields_set:
            raise SpecError(
                f"evaluation.options.knn.ks: {max(self.ks)} neighbors requested, but the training split has only "
                f"{labeled} labeled samples; choose at most {labeled}"
            )
        return self.model_copy(update={"ks": tuple(k for k in self.ks if k <= labeled) or (labeled,)})

    def __call__(self, train: Features, test: Features, *, classes: list[str], resamples: int, seed: int) -> Outcome:
        """Classify the test samples; see `Evaluation` and `fitted_to`."""
        train = train.labeled("training")
        test.labeled("test")
        ks = self.fitted_to(label_counts(train, test, classes)).ks
        order = np.lexsort(train.ids.T[::-1])
        groups = torch.from_numpy(train.groups[order])
        votes: dict[int, list[NDArray[np.int64]]] = {k: [] for k in ks}
        for neighbors in nearest_in_blocks(test.embeddings, train.embeddings.select(order), k=max(ks)):
            for k, predicted in votes.items():
                block = vote(neighbors, groups, k=k, classes=len(classes), temperature=self.temperature)
                predicted.append(block.numpy())

        scored = test.groups >= 0
        predictions = {f"knn_{k}": np.concatenate(predicted) for k, predicted in votes.items()}
        right = {name: (predicted == test.groups)[scored] for name, predicted in predictions.items()}
        return Outcome(
            scores={f"{name}.accuracy": accuracy_score(correct) for name, correct in right.items()},
            predictions=predictions,
        )
