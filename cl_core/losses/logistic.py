"""Logistic loss: classify each pair by itself as same or different."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cl_core.losses import Learned, LossSum, Relation
from cl_core.losses._pair_means import PairMeanLoss, pair_mean
from cl_core.registry import LOSSES

Similarity = Literal["cosine", "dot"]


@LOSSES.register("logistic")
class Logistic(PairMeanLoss):
    """Binary cross-entropy of telling positives from negatives by their similarity.

    Source: Eysenbach et al. 2022, "Contrastive learning as goal-conditioned reinforcement learning",
    arXiv:2206.07568, its NCE objective: similarity `dot`, scale 1 and bias 0.
    """

    similarity: Similarity = "cosine"
    """Cosine, or the plain dot product, as in contrastive RL."""
    scale: float = Field(10.0, gt=0, le=1000)
    """Multiplies the similarity: 1 / temperature. Dimensionless; 1 in contrastive RL, 10 initially in SigLIP."""
    bias: float = Field(-10.0, ge=-1000, le=1000)
    """Added to scale * similarity, to account for the many negatives of a batch; with cosines and balanced on, use
    minus half the scale. Nats; 0 in contrastive RL, -10 initially in SigLIP."""

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Compute `logistic`, whose options have the names of these."""
        return logistic(anchors, candidates, relation, **dict(self))


def logistic(
    anchors: Tensor,
    candidates: Tensor,
    relation: Relation,
    *,
    similarity: Similarity,
    scale: float,
    bias: float,
    balanced: bool,
) -> LossSum:
    """Average -log sigmoid(y (scale * similarity + bias)) over pairs, y = 1 for positives and -1 for negatives.

    Args:
        anchors: (A, D) float.
        candidates: (K, D) float.
        relation: Who is who; the anchor itself is no pair.
        similarity: `cosine` normalizes the rows here; `dot` leaves them.
        scale: Above 0.
        bias: Nats.
        balanced: See `pair_mean`. On, it is the paper's objective with its negatives averaged, times 1 / 2; off, the
            paper's code, which averages over all pairs of a batch.

    Returns:
        Sum and number of pairs, or of anchors when balanced, in nats. The mean is log(2) when every logit is 0.

    Source: Eysenbach et al. 2022, arXiv:2206.07568, Sec. 3. Differences: none with `dot`, scale 1 and bias 0.
    """
    if similarity == "cosine":
        anchors, candidates = F.normalize(anchors, dim=1), F.normalize(candidates, dim=1)
    logits = scale * (anchors @ candidates.T) + bias
    terms = -F.logsigmoid(torch.where(relation.same_group, logits, -logits))
    return pair_mean(terms, relation, balanced=balanced)
