"""Pairwise logistic loss of SigLIP: classify each pair as same or different, with a learned scale and bias."""

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cl_core.losses import Learned, LossSum, PairLoss, Relation
from cl_core.registry import LOSSES


@LOSSES.register("pairwise_logistic")
class PairwiseLogistic(PairLoss):
    """Binary cross-entropy over all pairs, summed over each anchor's candidates.

    Source: Zhai et al. 2023, "Sigmoid loss for language image pre-training" (SigLIP), arXiv:2303.15343, Alg. 1.
    """

    start_scale: float = Field(10.0, gt=0, le=1000, title="Initial scale")
    """Initial value of exp(log_scale), which multiplies the cosine similarities. Dimensionless; the paper uses 10."""
    start_bias: float = Field(-10.0, ge=-1000, le=1000, title="Initial bias")
    """Initial bias, low enough that the many negatives cost little at first. Nats; the paper uses -10."""

    def learned_start(self) -> dict[str, float]:
        """Return the log of the scale, which keeps the scale positive, and the bias."""
        return {"log_scale": math.log(self.start_scale), "bias": self.start_bias}

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Compute `pairwise_logistic` with these options."""
        return pairwise_logistic(anchors, candidates, relation, log_scale=learned["log_scale"], bias=learned["bias"])


def pairwise_logistic(
    anchors: Tensor, candidates: Tensor, relation: Relation, *, log_scale: Tensor, bias: Tensor
) -> LossSum:
    """Sum -log sigmoid(y (exp(log_scale) * cosine + bias)) over pairs, y = 1 for positives, -1 for negatives.

    Args:
        anchors: (A, D) float, normalized here.
        candidates: (K, D) float, normalized here.
        relation: Who is who; the anchor itself is no pair.
        log_scale: () float, log of what multiplies the cosines.
        bias: () float, nats.

    Returns:
        Sum over pairs and number of anchors, in nats. At the paper's start the mean is K log(2) when all rows coincide
        and anchors are not among the candidates. An anchor without positives is counted, and so is one without
        negatives: each pair has its own answer.

    Source: Zhai et al. 2023, arXiv:2303.15343, Sec. 3.2 and Alg. 1. Differences: an anchor may have any number of
        positives.
    """
    unit_anchors, unit_candidates = F.normalize(anchors, dim=1), F.normalize(candidates, dim=1)
    logits = log_scale.exp() * (unit_anchors @ unit_candidates.T) + bias
    terms = -F.logsigmoid(torch.where(relation.same_group, logits, -logits))
    return LossSum(terms.masked_fill(relation.excluded_mask, 0).sum(), terms.new_full((), len(anchors)))
