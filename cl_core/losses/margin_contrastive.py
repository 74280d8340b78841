"""Margin contrastive loss: pull similar pairs together, push others apart up to a margin."""

from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from cl_core.losses import Learned, LossSum, Relation
from cl_core.losses._distances import distances
from cl_core.losses._pair_means import PairMeanLoss
from cl_core.registry import LOSSES


@LOSSES.register("margin_contrastive")
class MarginContrastive(PairMeanLoss):
    """Half the squared distance of similar pairs, half the squared shortfall from the margin of other pairs.

    d^2 / 2 of positive pairs and max(0, margin - d)^2 / 2 of negative pairs.

    Source: Hadsell, Chopra & LeCun 2006, "Dimensionality reduction by learning an invariant mapping", CVPR, Eq. 4.
    Differences: there Y = 0 is similar; pairs are those of the batch, which is why they can be balanced; coinciding
    negatives, which have no direction to part in, have gradient 0.
    """

    margin: float = Field(1.0, gt=0, le=1000)
    """Negatives farther apart than this cost nothing. In units of the distance: unit rows are at most 2 apart,
    unrelated ones 1.41 (Euclidean) or 1 (cosine)."""
    distance: Literal["euclidean", "cosine"] = "euclidean"
    """Euclidean, as in the paper, or 1 - cosine, as is common for sentences."""
    normalize: bool = Field(True, title="Unit rows")
    """Normalize embeddings to unit length before Euclidean distances are taken. The paper does not."""

    @model_validator(mode="after")
    def _cosine_is_of_unit_rows(self) -> Self:
        if self.distance == "cosine" and not self.normalize:
            raise ValueError("normalize cannot be off with distance 'cosine', which normalizes rows by definition")
        return self

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Sum over pairs, or anchors when balanced.

        When all rows coincide the mean is margin^2 / 2 times the share of negatives: margin^2 / 4 when balanced.
        """
        apart = distances(anchors, candidates, distance=self.distance, normalize=self.normalize)
        terms = torch.where(relation.same_group, apart, F.relu(self.margin - apart)).square() / 2
        return self.mean(terms, relation)
