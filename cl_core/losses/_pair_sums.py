"""What softmax losses need of all pairs: sums and log-sum-exps over each anchor's positives and negatives.

InfoNCE, supervised contrastive, decoupled, debiased and N-pair are a line of arithmetic each on these sums. The pairs
are walked in tiles with an online log-sum-exp and recomputed in the backward, so that memory grows with the batch and
not with its square; a tile that holds all pairs is the plain form.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cl_core.losses import Relation, RowIds


class PairSums(NamedTuple):
    """Over each anchor's candidates but itself; logits are scale * dot product. (A,) each."""

    positive_sum: Tensor  # Sum of the positives' logits; 0 without positives.
    positive_lse: Tensor  # Log of the sum of exp of the positives' logits; minus infinity without positives.
    negative_lse: Tensor  # The same over negatives.
    positives: Tensor  # How many, as floats, without gradient.
    negatives: Tensor

    @property
    def lse(self) -> Tensor:
        """Log-sum-exp over all candidates but the anchor itself."""
        return torch.logaddexp(self.positive_lse, self.negative_lse)


def pair_sums(anchors: Tensor, candidates: Tensor, relation: Relation, *, scale: float, tile: int) -> PairSums:
    """Sums over each anchor's positives and negatives.

    Args:
        anchors: (A, D) float, normalised already where the loss wants it.
        candidates: (K, D) float, likewise.
        relation: Who is who.
        scale: Multiplies the dot products; 1 / temperature.
        tile: Side of the square of pairs looked at at once, in rows; 0 looks at all. Memory is tile**2, time the same.

    Source: Milakov & Gimelshein 2018, "Online normalizer calculation for softmax", arXiv:1805.02867, Alg. 3.
    """
    return PairSums(*_PairSums.apply(anchors, candidates, relation, scale, tile))


class _PairSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, candidates: Tensor, relation: Relation, scale: float, tile: int
    ) -> tuple[Tensor, ...]:
        positive_sum, positives, negatives = (anchors.new_zeros(len(anchors)) for _ in range(3))
        positive_lse, negative_lse = (anchors.new_full((len(anchors),), -torch.inf) for _ in range(2))
        for own, among in _tiles(len(anchors), len(candidates), tile):
            logits, positive, negative = _tile(anchors, candidates, relation, scale, own, among)
            positive_sum[own] += logits.masked_fill(~positive, 0).sum(1)
            for lse, chosen in ((positive_lse, positive), (negative_lse, negative)):
                lse[own] = torch.logaddexp(lse[own], logits.masked_fill(~chosen, -torch.inf).logsumexp(1))
            positives[own] += positive.sum(1)
            negatives[own] += negative.sum(1)
        ctx.save_for_backward(anchors, candidates, positive_lse, negative_lse)
        ctx.relation, ctx.scale, ctx.tile = relation, scale, tile
        ctx.mark_non_differentiable(positives, negatives)
        return positive_sum, positive_lse, negative_lse, positives, negatives

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        anchors, candidates, positive_lse, negative_lse = ctx.saved_tensors
        of_sum, of_positive, of_negative = gradients[:3]
        to_anchors, to_candidates = torch.zeros_like(anchors), torch.zeros_like(candidates)
        # An empty set has no softmax: with infinity in place of minus infinity every share is 0, not NaN.
        positive_lse, negative_lse = (lse.nan_to_num(neginf=torch.inf) for lse in (positive_lse, negative_lse))
        for own, among in _tiles(len(anchors), len(candidates), ctx.tile):
            logits, positive, negative = _tile(anchors, candidates, ctx.relation, ctx.scale, own, among)
            of_logits = (logits - negative_lse[own, None]).exp_().mul_(of_negative[own, None])
            of_logits.masked_fill_(~negative, 0)
            share = (logits - positive_lse[own, None]).exp_().mul_(of_positive[own, None]).add_(of_sum[own, None])
            of_logits += share.masked_fill_(~positive, 0)
            of_logits *= ctx.scale
            to_anchors[own] += of_logits @ candidates[among]
            to_candidates[among] += of_logits.T @ anchors[own]
        return to_anchors, to_candidates, None, None, None


def _tiles(anchors: int, candidates: int, tile: int) -> Iterator[tuple[slice, slice]]:
    rows, columns = tile or max(1, anchors), tile or max(1, candidates)
    for row in range(0, anchors, rows):
        for column in range(0, candidates, columns):
            yield slice(row, row + rows), slice(column, column + columns)


def _tile(
    anchors: Tensor, candidates: Tensor, relation: Relation, scale: float, own: slice, among: slice
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a tile, and which of its pairs are positive and negative; a row beside itself is neither."""
    part = Relation(_rows(relation.anchors, own), _rows(relation.candidates, among))
    itself, same_group = part.itself, part.same_group
    logits = (anchors[own] @ candidates[among].T).mul_(scale)
    return logits, same_group & ~itself, ~(same_group | itself)


def _rows(ids: RowIds, chosen: slice) -> RowIds:
    return RowIds(ids.samples[chosen], ids.views[chosen], ids.groups[chosen])
