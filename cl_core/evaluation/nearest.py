"""Nearest neighbors by cosine, and their vote: exact, with ties broken the same way always."""

from collections.abc import Iterator
from functools import partial, reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_core.columns import Column

# Similarities held at a time: 64 MiB.
_SIMILARITIES = 1 << 24
# Numbers of queries, and of a bank, that are read at a time: 64 MiB each.
_NUMBERS = 1 << 24
# Neighbors held at a time, a cosine and a position each: 24 MiB.
_NEIGHBORS = 1 << 21
# Queries that are compared with a block of a bank at once: at least so many, if there are.
_QUERIES = 1 << 8
# Columns in a group of similarities of which only the greatest is compared first.
_FOLDS = 16


class Neighbors(NamedTuple):
    """The most similar rows of a bank, most similar first."""

    cosines: Tensor  # (Q, k) float32.
    positions: Tensor  # (Q, k) int64, rows of the bank.


def nearest(queries: Tensor, bank: Tensor, *, k: int) -> Neighbors:
    """Return the k rows of an (M, D) bank of greatest cosine to each of (Q, D) queries; the earlier row wins ties."""
    columns = -(-len(bank) // _FOLDS) * _FOLDS
    unit = torch.zeros(columns, bank.shape[1])
    F.normalize(bank.float(), dim=1, out=unit[: len(bank)])
    # Of equal size, but for one row: a product of a few rows is computed by another kernel, with other last bits, and
    # a query has to be as similar to a row as to its copy in another block of a bank.
    count = max(1, -(-len(queries) * columns // _SIMILARITIES))
    blocks = []
    for block in F.normalize(queries.float(), dim=1).tensor_split(count):
        cosines = block @ unit.T
        cosines[:, len(bank) :] = -torch.inf
        blocks.append(_greatest(cosines, k))
    return Neighbors(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def nearest_in_blocks(queries: Column, bank: Column, *, k: int) -> Iterator[Neighbors]:
    """Yield what `nearest` returns, for one block of queries after another; the bank is read in blocks, too.

    Args:
        queries: Q rows of (D,) float32.
        bank: M rows of (D,) float32; read once for each block of queries.
        k: 1 to M.

    Yields:
        (q, k) neighbors of the next q queries, in order.
    """
    (width,) = bank.shape
    rows = min(_NUMBERS // width, _SIMILARITIES // _QUERIES)
    for block in _blocks(queries, min(_NUMBERS // width, _NEIGHBORS // k)):
        yield reduce(partial(_first, k=k), _nearest_of_each(block, _blocks(bank, rows), k))


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
    # Where there are many classes, of few queries at a time.
    parts = (torch.split(part, max(1, _SIMILARITIES // classes)) for part in (groups, votes))
    sums = (torch.zeros(len(of), classes).scatter_add_(1, of, cast) for of, cast in zip(*parts, strict=True))
    return torch.cat([block.argmax(dim=1) for block in sums])


def _blocks(column: Column, most: int) -> Iterator[Tensor]:
    """Yield all rows in order, in blocks of about equal size, of at most so many rows."""
    count = -(-len(column) // max(1, most))
    return map(torch.from_numpy, column.blocks(-(-len(column) // count)))


def _nearest_of_each(queries: Tensor, blocks: Iterator[Tensor], k: int) -> Iterator[Neighbors]:
    """Yield the nearest rows of each block of a bank, at most k; positions are those in the bank."""
    start = 0
    for rows in blocks:
        cosines, positions = nearest(queries, rows, k=min(k, len(rows)))
        yield Neighbors(cosines, positions + start)
        start += len(rows)


def _first(earlier: Neighbors, later: Neighbors, *, k: int) -> Neighbors:
    """Return the k nearest of two parts of a bank; the earlier row wins ties."""
    cosines, positions = (torch.cat(pair, dim=1) for pair in zip(earlier, later, strict=True))
    values, ranks = cosines.sort(dim=1, descending=True, stable=True)
    return Neighbors(values[:, :k], positions.gather(1, ranks[:, :k]))


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
