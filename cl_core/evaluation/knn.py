"""Weighted nearest neighbours: how well the neighbourhoods of the features follow the classes, with nothing trained."""

from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cl_core.errors import SpecError
from cl_core.evaluation import Evaluation, Features, Outcome
from cl_core.registry import EVALUATIONS
from cl_core.statistics import accuracy_score

# Similarities held at a time: 64 MiB.
_SIMILARITIES = 1 << 24
# Columns in a group of similarities of which only the greatest is looked at first.
_FOLDS = 16


@EVALUATIONS.register("knn")
class Knn(Evaluation):
    """Each test sample takes the class with the greatest vote among its k most similar training samples.

    A neighbour votes with exp(cosine / temperature).

    Source: Wu et al. 2018, "Unsupervised feature learning via non-parametric instance discrimination",
    arXiv:1805.01978, Sec. 3.4. Differences: ties of similarity go to the sample with the lesser content hash.
    """

    needs_labels: ClassVar[bool] = True

    ks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (20, 200), min_length=1, title="Neighbours", description="Each k gives a score `knn_K.accuracy`. Samples."
    )
    temperature: float = Field(
        0.1, ge=0.01, title="Temperature", description="Divides the cosine in a neighbour's vote. Dimensionless."
    )

    def __call__(self, train: Features, test: Features, *, classes: list[str], resamples: int, seed: int) -> Outcome:
        """See `Evaluation`.

        Raises:
            SpecError: When more neighbours are asked for than there are labelled training samples.
        """
        train = train.labelled("training")
        test.labelled("test")
        if max(self.ks) > len(train.ids):
            raise SpecError(
                f"evaluation.options.knn.ks: {max(self.ks)} neighbours are asked for, and the training split has "
                f"{len(train.ids)} labelled samples; choose at most {len(train.ids)}"
            )
        order = np.lexsort(train.ids.T[::-1])
        bank, queries = (torch.tensor(rows) for rows in (train.embeddings[order], test.embeddings))
        neighbours = nearest(queries, bank, k=max(self.ks))
        groups = torch.from_numpy(train.groups[order])[neighbours.positions]
        votes = torch.exp((neighbours.cosines - 1) / self.temperature)

        scored = test.groups >= 0
        outcome = Outcome(scores={})
        for k in self.ks:
            totals = torch.zeros(len(groups), len(classes)).scatter_add_(1, groups[:, :k], votes[:, :k])
            predicted = totals.argmax(dim=1).numpy()
            right = (predicted == test.groups)[scored]
            outcome.scores[f"knn_{k}.accuracy"] = accuracy_score(right, resamples=resamples, seed=seed)
            outcome.predictions[f"knn_{k}"] = predicted
        return outcome


class Neighbours(NamedTuple):
    """The most similar rows of a bank, most similar first."""

    cosines: Tensor  # (Q, k) float32.
    positions: Tensor  # (Q, k) int64, rows of the bank.


def nearest(queries: Tensor, bank: Tensor, *, k: int) -> Neighbours:
    """The k rows of the bank with the greatest cosine to each query, the earlier row where cosines are equal.

    Args:
        queries: (Q, D), normalised here.
        bank: (M, D), normalised here.
        k: 1 to M.
    """
    columns = -(-len(bank) // _FOLDS) * _FOLDS
    unit = F.pad(F.normalize(bank.float(), dim=1), (0, 0, 0, columns - len(bank)))
    blocks = []
    for block in torch.split(F.normalize(queries.float(), dim=1), max(1, _SIMILARITIES // columns)):
        cosines = block @ unit.T
        cosines[:, len(bank) :] = -torch.inf
        blocks.append(_greatest(cosines, k))
    return Neighbours(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def _greatest(cosines: Tensor, k: int) -> Neighbours:
    """The k greatest of each row of (B, M), sorted, the earlier column first where they are equal.

    The k greatest lie in the k groups of columns with the greatest maxima: selecting among maxima, and then within
    those groups, is several times faster than selecting among all columns.
    """
    groups = cosines.shape[1] // _FOLDS
    maxima = cosines.view(-1, _FOLDS, groups).amax(dim=1)
    leading = maxima.topk(min(k, groups), dim=1, sorted=False)
    columns = (torch.arange(_FOLDS)[:, None] * groups + leading.indices[:, None, :]).flatten(1)
    candidates = cosines.gather(1, columns)
    values, ranks = candidates.topk(k, dim=1, sorted=False)
    positions = columns.gather(1, ranks)

    least = values.amin(dim=1, keepdim=True)
    # torch.topk takes any of those equal to the least. Rare, except for embeddings that have collapsed.
    undecided = (candidates >= least).sum(dim=1) > k
    undecided |= (maxima >= least).sum(dim=1) > (leading.values >= least).sum(dim=1)
    if undecided.any():
        positions[undecided] = _earliest(cosines[undecided], least[undecided], k)
    positions = positions.sort(dim=1).values
    values, ranks = cosines.gather(1, positions).sort(dim=1, descending=True, stable=True)
    return Neighbours(values, positions.gather(1, ranks))


def _earliest(cosines: Tensor, least: Tensor, k: int) -> Tensor:
    """(B, k) columns above the `least` that is taken, and the first of those equal to it."""
    above, equal = cosines > least, cosines == least
    wanted = above | (equal & (equal.cumsum(dim=1) <= k - above.sum(dim=1, keepdim=True)))
    return wanted.nonzero()[:, 1].view(-1, k)
