"""Nearest neighbors by cosine, and their vote: exact, with ties broken the same way always."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Similarities held at a time: 64 MiB.
_SIMILARITIES = 1 << 24
# Columns in a group of similarities of which only the greatest is compared first.
_FOLDS = 16


class Neighbors(NamedTuple):
    """The most similar rows of a bank, most similar first."""

    cosines: Tensor  # (Q, k) float32.
    positions: Tensor  # (Q, k) int64, rows of the bank.


def nearest(queries: Tensor, bank: Tensor, *, k: int) -> Neighbors:
    """Return the k rows of an (M, D) bank of greatest cosine to each of (Q, D) queries; the earlier row wins ties."""
    columns = -(-len(bank) // _FOLDS) * _FOLDS
    unit = F.pad(F.normalize(bank.float(), dim=1), (0, 0, 0, columns - len(bank)))
    blocks = []
    for block in torch.split(F.normalize(queries.float(), dim=1), max(1, _SIMILARITIES // columns)):
        cosines = block @ unit.T
        cosines[:, len(bank) :] = -torch.inf
        blocks.append(_greatest(cosines, k))
    return Neighbors(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def vote(neighbors: Neighbors, classes_of_bank: Tensor, *, k: int, classes: int, temperature: float) -> Tensor:
    """Return the class with the greatest vote among each query's k nearest, weighted by exp(cosine / temperature).

    `classes_of_bank` is (M,) int64, of each row of the bank.

    Returns:
        (Q,) int64, the lesser class where votes are equal.

    Source: Wu et al. 2018, "Unsupervised feature learning via non-parametric instance discrimination",
    arXiv:1805.01978, Sec. 3.4. Differences: none.
    """
    groups = classes_of_bank[neighbors.positions[:, :k]]
    # Minus 1: the same order, and no overflow.
    votes = torch.exp((neighbors.cosines[:, :k] - 1) / temperature)
    return torch.zeros(len(groups), classes).scatter_add_(1, groups, votes).argmax(dim=1)


def _greatest(cosines: Tensor, k: int) -> Neighbors:
    """Return the k greatest of each row of (B, M), sorted; the earlier column wins ties.

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
    return Neighbors(values, positions.gather(1, ranks))


def _earliest(cosines: Tensor, least: Tensor, k: int) -> Tensor:
    """Return (B, k) columns above the `least` value taken, and the first of those equal to it."""
    above, equal = cosines > least, cosines == least
    chosen = above | (equal & (equal.cumsum(dim=1) <= k - above.sum(dim=1, keepdim=True)))
    return chosen.nonzero()[:, 1].view(-1, k)
