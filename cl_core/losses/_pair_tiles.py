"""All pairs of anchors and candidates, in square tiles, and where in them positives can be."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cl_core.losses import Relation, RowIds


class PairProducts(NamedTuple):
    """Pairs of some anchors, the rows, with some candidates, the columns.

    Args:
        products: (a, k) float, their dot products.
        masked: (a, k) bool, true where a pair is no negative; None, as is `positive`, where all are negatives.
        positive: (a, k) bool.
    """

    products: Tensor
    masked: Tensor | None
    positive: Tensor | None

    @property
    def transposed(self) -> "PairProducts":
        """The same with rows and columns exchanged."""
        masked, positive = (mask if mask is None else mask.T for mask in (self.masked, self.positive))
        return PairProducts(self.products.T, masked, positive)


class Tile(NamedTuple):
    """The pairs of one tile."""

    own: slice
    among: slice
    is_mixed: bool
    """Whether others than negatives may be among them."""
    is_mirrored: bool
    """Whether they also represent the pairs on the other side of the diagonal."""


class Block(NamedTuple):
    """Rows that are processed together.

    Args:
        rows: Which.
        first: Least of their groups.
        last: Greatest of their groups.
        strange: Whether no anchor is of their groups.
        queued: Whether they are all of a queue.
    """

    rows: slice
    first: int
    last: int
    strange: bool
    queued: bool


@dataclass(frozen=True)
class Tiling:
    """All pairs, in tiles.

    Args:
        relation: Who is who. A candidate that is the anchor itself is of its group.
        rows: Blocks of the anchors.
        columns: Blocks of the candidates.
        one_set: Whether these are the anchors; a tile above the diagonal then also represents the one below it.
    """

    relation: Relation
    rows: list[Block]
    columns: list[Block]
    one_set: bool

    @property
    def is_one_tile(self) -> bool:
        """Whether one tile holds all pairs."""
        return len(self.rows) == len(self.columns) == 1

    def tiles(self) -> Iterator[Tile]:
        """Yield the tiles row by row, without those whose pairs are all left out."""
        beside_a_queue = self.relation.queued is not None
        for number, row in enumerate(self.rows):
            for column in self.columns[number if self.one_set else 0 :]:
                if column.strange and beside_a_queue and not column.queued:
                    continue
                overlap = row.first <= column.last and column.first <= row.last
                is_mixed = not column.strange and (beside_a_queue or overlap)
                yield Tile(row.rows, column.rows, is_mixed, self.one_set and row.rows != column.rows)

    def look(self, tile: Tile, anchors: Tensor, candidates: Tensor) -> PairProducts:
        """Return the pairs of a tile."""
        products = anchors[tile.own] @ candidates[tile.among].T
        if not tile.is_mixed:
            return PairProducts(products, None, None)
        part = part_of(self.relation, tile.own, tile.among)
        excluded, same_group = part.excluded_mask, part.same_group
        return PairProducts(products, same_group | excluded, same_group & ~excluded)


def one_tile(relation: Relation, *, one_set: bool) -> Tiling:
    """Return a tiling of one tile that holds all pairs, in any order."""
    bounds = torch.iinfo(torch.int64)
    rows, columns = (
        [Block(slice(0, count), bounds.min, bounds.max, strange=False, queued=False)] if count else []
        for count in (len(relation.anchors.groups), len(relation.candidates.groups))
    )
    return Tiling(relation, rows, columns, one_set)


def ordered(relation: Relation, *, one_set: bool) -> tuple[Tensor, Tensor]:
    """Return an order of anchors and candidates in which positives fall into few tiles.

    By ascending group; candidates that are of no anchor's group behind all others, and of these a queue's last.
    """
    own = relation.anchors.groups.argsort()
    if one_set:
        return own, own
    among = relation.candidates.groups.argsort()
    return own, among[_kinds(relation)[among].argsort(stable=True)]


def tiled(relation: Relation, tile: int, *, one_set: bool) -> Tiling:
    """Return square tiles of `tile` rows and columns, smaller at the edges, of a relation sorted by `ordered`."""
    own = len(relation.anchors.groups)
    rows = _blocks(relation.anchors.groups, tile, [own, 0, 0])
    counts = [own, 0, 0] if one_set else _kinds(relation).bincount(minlength=3).tolist()
    return Tiling(relation, rows, _blocks(relation.candidates.groups, tile, counts), one_set)


def part_of(relation: Relation, own: slice | Tensor, among: slice | Tensor) -> Relation:
    """Return the relation of some anchors, in that order, to some candidates."""
    of, to, queued = relation.anchors, relation.candidates, relation.queued
    return Relation(
        RowIds(of.samples[own], of.views[own], of.groups[own]),
        RowIds(to.samples[among], to.views[among], to.groups[among]),
        None if queued is None else queued[among],
    )


def _kinds(relation: Relation) -> Tensor:
    """Return the kind of each candidate, (K,) int64: 0 if in an anchor's group, else 1, or 2 if queued."""
    strange = ~torch.isin(relation.candidates.groups, relation.anchors.groups)
    return strange.long() if relation.queued is None else strange * (1 + relation.queued.long())


def _blocks(groups: Tensor, tile: int, counts: list[int]) -> list[Block]:
    """Split (R,) groups into blocks of one kind each, given how many consecutive rows are of each kind."""
    bounds, start = [], 0
    for kind, count in enumerate(counts):
        bounds += [(at, min(at + tile, start + count), kind) for at in range(start, start + count, tile)]
        start += count
    ends = torch.tensor([(first, stop - 1) for first, stop, _ in bounds], dtype=torch.int64, device=groups.device)
    return [
        Block(slice(start, stop), first, last, strange=kind > 0, queued=kind == 2)
        for (start, stop, kind), (first, last) in zip(bounds, groups[ends].tolist(), strict=True)
    ]
