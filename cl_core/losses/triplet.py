"""Triplet loss: an anchor's positive is nearer than its negative, by a margin."""

from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from cl_core.losses import Learned, LossSum, PairLoss, Relation
from cl_core.losses._distances import Distance, distances
from cl_core.registry import LOSSES


@LOSSES.register("triplet")
class Triplet(PairLoss):
    """How far each triplet falls short of the margin, averaged over the triplets mined in the batch.

    max(0, d(a, p) - d(a, n) + margin), satisfied triplets included. An anchor without positives or without negatives
    has no triplet. What is mined is decided without gradient.

    Source: Schroff et al. 2015, "FaceNet", arXiv:1503.03832, Eq. 1 to 3; Hermans et al. 2017, "In defense of the
    triplet loss for person re-identification", arXiv:1703.07737, Sec. 2. Differences: a mean in place of FaceNet's sum.
    """

    margin: float = Field(0.2, ge=0, le=1000)
    """How much farther a negative must be than the positive. In units of the distance; FaceNet uses 0.2."""
    mining: Literal["all", "hard", "semi_hard"] = "all"
    """Which triplets count. `all`: every one. `hard`: each anchor's farthest positive and nearest negative.
    `semi_hard`: for each positive the nearest negative that is farther than it (FaceNet)."""
    distance: Distance = "squared_euclidean"
    """Squared Euclidean in FaceNet, Euclidean in batch-hard mining's paper, or 1 - cosine."""
    normalize: bool = Field(True, title="Unit rows")
    """Normalize embeddings to unit length before Euclidean distances are taken, as FaceNet does and batch-hard mining's
    paper does not."""
    soft_margin: bool = False
    """log(1 + exp(x)) in place of max(0, x): satisfied triplets still pull a little. The paper's form has margin 0."""

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.distance == "cosine" and not self.normalize:
            raise ValueError("normalize cannot be off with distance 'cosine', which normalizes rows by definition")
        if self.soft_margin and self.mining == "all":
            raise ValueError("soft_margin needs mining 'hard' or 'semi_hard'; with mining 'all' its cost is cubic")
        if self.margin == 0 and not self.soft_margin:
            raise ValueError(
                "margin 0 without soft_margin has its minimum where all embeddings are equal; use 0.2, for example"
            )
        return self

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Sum over triplets. When all rows coincide the mean is the margin, with a soft margin of 0 log(2)."""
        apart = distances(anchors, candidates, distance=self.distance, normalize=self.normalize)
        excluded, same_group = relation.excluded_mask, relation.same_group
        positive, negative = same_group & ~excluded, ~(same_group | excluded)
        if self.mining == "all":
            assert not self.soft_margin, "refused with the options"
            return _over_all(apart, positive, negative, self.margin)
        mine = _hardest if self.mining == "hard" else _semi_hard
        pulled, pushed, mined = mine(apart, positive, negative)
        excess = (pulled - pushed + self.margin).masked_fill(~mined, -torch.inf)
        terms = F.softplus(excess) if self.soft_margin else F.relu(excess)
        return LossSum(terms.sum(), mined.sum(dtype=terms.dtype))


def _hardest(apart: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the farthest positive, the nearest negative, and whether both exist, (A, 1) each."""
    farthest = apart.masked_fill(~positive, -torch.inf).amax(1, keepdim=True)
    nearest = apart.masked_fill(~negative, torch.inf).amin(1, keepdim=True)
    return farthest, nearest, positive.any(1, keepdim=True) & negative.any(1, keepdim=True)


def _semi_hard(apart: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (A, K) each positive, the nearest negative farther than it, and whether the triplet exists.

    Where no negative is farther, the farthest one is taken, as in TensorFlow Addons' `triplet_semihard_loss`, which
    FaceNet leaves open; so every positive counts once. A negative beyond the margin costs nothing.
    """
    nearest = _sorted_negatives(apart, negative)
    farther = torch.searchsorted(nearest.detach(), apart.detach(), right=True)
    farthest = negative.sum(1, keepdim=True) - 1
    chosen = farther.minimum(farthest).clamp(min=0)
    return apart, nearest.gather(1, chosen), positive & negative.any(1, keepdim=True)


def _over_all(apart: Tensor, positive: Tensor, negative: Tensor, margin: float) -> LossSum:
    """Average over all triplets in the memory of the pairs.

    The negatives that violate a positive's margin are the first c of the sorted ones, so that their sum of
    d(a, p) + margin - d(a, n) is c (d(a, p) + margin) less the sum of the first c distances.
    """
    nearest = _sorted_negatives(apart, negative)
    reach = apart + margin
    violating = torch.searchsorted(nearest.detach(), reach.detach())
    sums = F.pad(nearest.masked_fill(nearest.isinf(), 0).cumsum(1), (1, 0))
    terms = violating * reach - sums.gather(1, violating)
    triplets = positive.sum(1, dtype=terms.dtype) * negative.sum(1, dtype=terms.dtype)
    return LossSum(terms.masked_fill(~positive, 0).sum(), triplets.sum())


def _sorted_negatives(apart: Tensor, negative: Tensor) -> Tensor:
    """Return (A, K) the distances of each anchor's negatives, ascending, padded with infinity."""
    return apart.masked_fill(~negative, torch.inf).sort(1).values
