"""Sums and log-sum-exps over each anchor's positives and negatives: all that softmax losses need of the pairs.

InfoNCE, supervised contrastive, decoupled, debiased and N-pair are a line of arithmetic each on these sums. The pairs
are processed in tiles with an online log-sum-exp and computed again in the backward, so that memory grows linearly
with the batch. A tile that holds all pairs is the plain form. The pairs of a small batch are kept for the backward.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable

from cl_core.losses import LossSum, PairLoss, Relation
from cl_core.losses._pair_tiles import PairProducts, Tiling, one_tile, ordered, part_of, tiled

# On CPUs exp2 takes a quarter of the time of exp: inside, logits are in bits.
_NATS_PER_BIT = math.log(2)

# So many pairs take 6 MB with their masks, and computing them again takes a third of the backward.
_KEPT_PAIRS = 2**20


class PairSums(NamedTuple):
    """Sums over each anchor's candidates except itself; logits are scale * dot product. (A,) each."""

    positive_sum: Tensor  # Sum of the positives' logits; 0 without positives.
    positive_lse: Tensor  # Log of the sum of exp of the positives' logits; minus infinity without positives.
    negative_lse: Tensor  # The same over negatives.
    positives: Tensor  # How many, as floats, without gradient.
    negatives: Tensor

    @property
    def lse(self) -> Tensor:
        """Log-sum-exp over positives and negatives."""
        return torch.logaddexp(self.positive_lse, self.negative_lse)


def cross_entropy(sums: PairSums) -> LossSum:
    """Return the sum of -log(softmax over all candidates) of every positive of every anchor, in nats."""
    # An anchor without any candidate has an infinite log-sum-exp, which 0 times does not remove.
    spread = (sums.positives * sums.lse).masked_fill(sums.positives == 0, 0)
    return LossSum((spread - sums.positive_sum).sum(), sums.positives.sum())


class TiledLoss(PairLoss):
    """A loss that processes its pairs in tiles."""

    tile: int = Field(512, ge=0, le=65_536)
    """Pairs are processed in square tiles of this many rows, so that memory grows linearly with the batch; the result
    is the same. 512 fits a CPU's cache; a GPU is faster with 4096, or with 0, which processes all pairs at once.
    Rows."""


class SoftmaxLoss(TiledLoss):
    """A loss that compares each anchor's positives with its negatives in a softmax over cosines."""

    temperature: float = Field(0.2, gt=0, le=100)
    """Divides the cosine similarities. Dimensionless; 0.1 to 0.5 in SimCLR's table 5."""

    def logit_scale(self, learned: Mapping[str, float]) -> float:
        """Return 1 / temperature."""
        del learned
        return 1 / self.temperature

    def sums(self, anchors: Tensor, candidates: Tensor, relation: Relation) -> PairSums:
        """Compute `pair_sums` with cosine / temperature as logits; rows are normalized here."""
        unit = F.normalize(anchors, dim=1)
        among = unit if candidates is anchors else F.normalize(candidates, dim=1)
        return pair_sums(unit, among, relation, scale=1 / self.temperature, tile=self.tile)


def pair_sums(anchors: Tensor, candidates: Tensor, relation: Relation, *, scale: float, tile: int) -> PairSums:
    """Compute sums over each anchor's positives and negatives.

    Args:
        anchors: (A, D) float, normalized already where the loss wants it.
        candidates: (K, D) float, likewise. Where they are the anchors, the very same tensor with the very same ids,
            each tile serves both rows of a pair, in half the time.
        relation: Who is who.
        scale: Multiplies the dot products; 1 / temperature.
        tile: Side of a square tile of pairs, in rows; 0 processes all pairs at once.

    Source: Milakov & Gimelshein 2018, "Online normalizer calculation for softmax", arXiv:1805.02867, Alg. 3.
    """
    one_set = anchors is candidates and relation.anchors is relation.candidates and relation.queued is None
    if tile == 0 or max(len(anchors), len(candidates)) <= tile:
        return PairSums(*_PairSums.apply(anchors, candidates, scale, one_tile(relation, one_set=one_set)))
    order, among = ordered(relation, one_set=one_set)
    tiling = tiled(part_of(relation, order, among), tile, one_set=one_set)
    anchors = anchors[order]
    sums = _PairSums.apply(anchors, anchors if one_set else candidates[among], scale, tiling)
    back = order.argsort()
    return PairSums(*(of_rows[back] for of_rows in sums))


class _PairSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchors: Tensor, candidates: Tensor, scale: float, tiling: Tiling) -> tuple[Tensor, ...]:
        sums, kept = _Sums(anchors), list[Tensor | None]()
        keeps = tiling.is_one_tile or len(anchors) * len(candidates) <= _KEPT_PAIRS
        scaled = anchors * (scale / _NATS_PER_BIT)
        for tile in tiling.tiles():
            pairs = tiling.look(tile, scaled, candidates)
            sums.add(tile.own, pairs)
            if tile.is_mirrored:
                sums.add(tile.among, pairs.transposed)
            if keeps:
                kept += pairs
        ctx.scale, ctx.tiling = scale, tiling
        positive, negative = sums.of_positives, sums.of_negatives
        ctx.save_for_backward(anchors, candidates, positive.most, positive.rest, negative.most, negative.rest, *kept)
        ctx.mark_non_differentiable(sums.positives, sums.negatives)
        return sums.positive_sum * _NATS_PER_BIT, positive.in_nats, negative.in_nats, sums.positives, sums.negatives

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_sum: Tensor, of_positive: Tensor, of_negative: Tensor, *_: Tensor) -> tuple[Any, ...]:
        tiling: Tiling = ctx.tiling
        anchors, candidates, positive_most, positive_rest, negative_most, negative_rest, *kept = ctx.saved_tensors
        positives = _Softmax(positive_most, positive_rest, of_positive)
        gradient = _Gradient(of_sum, positives, _Softmax(negative_most, negative_rest, of_negative))
        scaled = anchors * (ctx.scale / _NATS_PER_BIT)
        to_anchors = torch.zeros_like(anchors)
        to_candidates = to_anchors if tiling.one_set else torch.zeros_like(candidates)
        for number, tile in enumerate(tiling.tiles()):
            pairs = PairProducts(*kept[3 * number : 3 * number + 3]) if kept else tiling.look(tile, scaled, candidates)
            to_logits = gradient.at(tile.own, pairs)
            if tile.is_mirrored:
                to_logits += gradient.at(tile.among, pairs.transposed).T
            elif tiling.one_set:  # On the diagonal rows and columns are the same: one product serves both.
                to_anchors[tile.own].addmm_(to_logits + to_logits.T, candidates[tile.among])
                continue
            to_anchors[tile.own].addmm_(to_logits, candidates[tile.among])
            if tiling.one_set or ctx.needs_input_grad[1]:
                to_candidates[tile.among].addmm_(to_logits.T, anchors[tile.own])
        to_anchors *= ctx.scale
        if tiling.one_set:  # Both in one.
            return to_anchors, None, None, None
        to_candidates *= ctx.scale
        return to_anchors, to_candidates, None, None


class _Sums:
    """Running sums over the tiles seen so far, in bits."""

    def __init__(self, like: Tensor) -> None:
        self.of_positives, self.of_negatives = _LogSumExp(like), _LogSumExp(like)
        self.positive_sum, self.positives, self.negatives = (like.new_zeros(len(like)) for _ in range(3))

    def add(self, own: slice, pairs: PairProducts) -> None:
        logits, masked, positive = pairs
        self.negatives[own] += logits.shape[1]
        if masked is None or positive is None:
            self.of_negatives.add(own, logits)
            return
        self.negatives[own] -= masked.sum(1)
        self.of_negatives.add(own, torch.where(masked, -torch.inf, logits))
        self.positives[own] += positive.sum(1)
        self.of_positives.add(own, torch.where(positive, logits, -torch.inf))
        self.positive_sum[own] += torch.where(positive, logits, 0).sum(1)


class _LogSumExp:
    """Log-sum-exp of rows whose columns come in parts: most + log2(rest), in bits."""

    def __init__(self, like: Tensor) -> None:
        self.most, self.rest = like.new_full((len(like),), -torch.inf), like.new_zeros(len(like))

    def add(self, own: slice, logits: Tensor) -> None:
        before = self.most[own]
        most = torch.maximum(before, logits.amax(1))
        subtracted = _finite_or_zero(most)
        fresh = (logits - subtracted[:, None]).exp2_().sum(1)
        self.rest[own] = self.rest[own] * (before - subtracted).exp2_() + fresh
        self.most[own] = most

    @property
    def in_nats(self) -> Tensor:
        return (self.most + self.rest.log2()) * _NATS_PER_BIT


class _Softmax:
    """Turns the gradient of a log-sum-exp into gradients of its logits; zero where there are none."""

    def __init__(self, most: Tensor, rest: Tensor, of_lse: Tensor) -> None:
        self.most, self.weight = _finite_or_zero(most), (of_lse / rest).masked_fill(rest == 0, 0)

    def at(self, own: slice, logits: Tensor) -> Tensor:
        return (logits - self.most[own, None]).exp2_().mul_(self.weight[own, None])


class _Gradient(NamedTuple):
    """Turns the gradients of all sums into gradients of the logits."""

    of_sum: Tensor
    positives: _Softmax
    negatives: _Softmax

    def at(self, own: slice, pairs: PairProducts) -> Tensor:
        logits, masked, positive = pairs
        to_logits = self.negatives.at(own, logits)
        if masked is not None and positive is not None:
            to_positives = self.positives.at(own, logits).add_(self.of_sum[own, None])
            to_logits.masked_fill_(masked, 0).add_(to_positives.masked_fill_(~positive, 0))
        return to_logits


def _finite_or_zero(most: Tensor) -> Tensor:
    """Replace minus infinity, the maximum of no logits, by 0: it cannot be subtracted from itself."""
    return most.masked_fill(most == -torch.inf, 0)
