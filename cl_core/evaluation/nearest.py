"""Nearest neighbors by cosine, and their vote: exact, with ties broken the same way always."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_core.columns import Column

# Similarities held at a time: 32 MiB.
_SIMILARITIES = 1 << 23
# Rows of a bank that are compared at a time: a matrix product is as quick with more.
_TILE = 1 << 13
# Numbers of queries, and of a bank, that are read at a time: 64 MiB each.
_NUMBERS = 1 << 24
# Neighbors held at a time, a cosine and a position each: 24 MiB.
_NEIGHBORS = 1 << 21
# Columns in a group of similarities of which only the greatest is compared first.
_FOLDS = 16


class Neighbors(NamedTuple):
    """The most similar rows of a bank, most similar first."""

    cosines: Tensor  # (Q, k) float32.
    positions: Tensor  # (Q, k) int64, rows of the bank.


def nearest(queries: Tensor, bank: Tensor, *, k: int) -> Neighbors:
    """Return the k rows of an (M, D) bank of greatest cosine to each of (Q, D) queries; the earlier row wins ties."""
    return _searched(queries, [bank], k)


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
    for block in _blocks(queries, min(_NUMBERS // width, _NEIGHBORS // k)):
        yield _searched(block, _blocks(bank, _NUMBERS // width), k)


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


def _searched(queries: Tensor, bank: Iterable[Tensor], k: int) -> Neighbors:
    """Return the nearest rows of a bank that is given in blocks, one after another."""
    unit, start = F.normalize(queries.float(), dim=1), 0
    found = Neighbors(torch.full((len(unit), k), -torch.inf), torch.zeros(len(unit), k, dtype=torch.int64))
    for rows in bank:
        _search(found, unit, F.normalize(rows.float(), dim=1), start)
        start += len(rows)
    positions, order = found.positions.sort(dim=1)
    cosines, ranks = found.cosines.gather(1, order).sort(dim=1, descending=True, stable=True)
    return Neighbors(cosines, positions.gather(1, ranks))


def _search(found: Neighbors, queries: Tensor, bank: Tensor, start: int) -> None:
    """Take what is nearer from the next (M, D) unit rows of a bank; the first of them has position `start`."""
    k = found.cosines.shape[1]
    columns = -(-len(bank) // -(-len(bank) // max(_TILE, k)))
    folds = max(1, min(_FOLDS, columns // k))
    columns = -(-columns // folds) * folds
    tiles = list(torch.split(bank, columns))
    tiles[-1] = F.pad(tiles[-1], (0, 0, 0, columns - len(tiles[-1])))
    # Of equal size, but for one row: a product of a few rows is computed by another kernel, with other last bits, and
    # a query has to be as similar to a row as to its copy in another tile.
    count = max(1, -(-len(queries) * columns // _SIMILARITIES))
    buffer = torch.empty(-(-len(queries) // count), columns)
    for block, *best in zip(*(part.tensor_split(count) for part in (queries, *found)), strict=True):
        for first, tile in zip(range(0, len(bank), columns), tiles, strict=True):
            cosines = torch.mm(block, tile.T, out=buffer[: len(block)])
            cosines[:, len(bank) - first :] = -torch.inf
            _take_in(Neighbors(*best), cosines.view(len(block), folds, -1), start + first)


def _take_in(found: Neighbors, cosines: Tensor, start: int) -> None:
    """Replace what is found by what is nearer among the next columns of (B, folds, groups) cosines, -inf for none.

    Few of them are nearer, and none where the greatest of a group is not.
    """
    k, groups = found.cosines.shape[1], cosines.shape[2]
    maxima = cosines.amax(dim=1)
    least = found.cosines.amin(dim=1, keepdim=True)
    if start < k <= groups:
        # Nothing is found yet. So many groups have one that is not less.
        bound = maxima.topk(k, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
        least = torch.nextafter(bound, least)
    rows, of = (maxima > least).nonzero(as_tuple=True)
    candidates = cosines[rows, :, of]
    chosen, fold = (candidates > least[rows]).nonzero(as_tuple=True)
    rows, columns = rows[chosen], fold * groups + of[chosen]

    # Beside what is found, in the order of the columns that a row has.
    counts = rows.bincount(minlength=len(least))
    slots = k + torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
    width = k + int(counts.max())
    values = torch.full((len(least), width), -torch.inf)
    positions = torch.zeros(len(least), width, dtype=torch.int64)
    values[:, :k], positions[:, :k] = found
    values[rows, slots], positions[rows, slots] = candidates[chosen, fold], start + columns
    least, ranks = values.topk(k, dim=1, sorted=False)
    # torch.topk takes any of those equal to the least. Rare, except for embeddings that have collapsed.
    tied = (values >= least.amin(dim=1, keepdim=True)).sum(dim=1) > k
    if tied.any():
        ranks[tied] = _earliest(values[tied], positions[tied], k)
    found.cosines.copy_(values.gather(1, ranks))
    found.positions.copy_(positions.gather(1, ranks))


def _earliest(cosines: Tensor, positions: Tensor, k: int) -> Tensor:
    """Return (B, k) columns of the greatest of each row of (B, M), those of the least positions where equal."""
    order = positions.argsort(dim=1)
    ranks = cosines.gather(1, order).argsort(dim=1, descending=True, stable=True)
    return order.gather(1, ranks[:, :k])
