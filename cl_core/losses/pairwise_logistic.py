"""Pairwise logistic loss of SigLIP: classify each pair as same or different, with a learned scale and bias."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cl_core.losses import Learned, LossSum, PairLoss, Relation
from cl_core.registry import LOSSES


@LOSSES.register("pairwise_logistic")
class PairwiseLogistic(PairLoss):
    """Binary cross-entropy over all pairs, summed over each anchor's candidates.

    -log sigmoid(y (exp(log_scale) * cosine + bias)), y = 1 for positives and -1 for negatives. An anchor without
    positives is counted, and so is one without negatives: each pair has its own answer.

    Source: Zhai et al. 2023, "Sigmoid loss for language image pre-training" (SigLIP), arXiv:2303.15343, Sec. 3.2 and
    Alg. 1. Differences: an anchor may have any number of positives.
    """

    start_scale: float = Field(10.0, gt=0, le=1000, title="Initial scale")
    """Initial value of exp(log_scale), which multiplies the cosine similarities. Dimensionless; the paper uses 10."""
    start_bias: float = Field(-10.0, ge=-1000, le=1000, title="Initial bias")
    """Initial bias, low enough that the many negatives cost little at first. Nats; the paper uses -10."""

    def learned_start(self) -> dict[str, float]:
        """Return the log of the scale, which keeps the scale positive, and the bias."""
        return {"log_scale": math.log(self.start_scale), "bias": self.start_bias}

    def logit_scale(self, learned: Mapping[str, float]) -> float:
        """Return the scale that was learned."""
        return math.exp(learned["log_scale"])

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Sum over pairs and count anchors, in nats.

        At the paper's start the mean is K log(2) when all rows coincide and anchors are not among the candidates.
        """
        unit_anchors, unit_candidates = F.normalize(anchors, dim=1), F.normalize(candidates, dim=1)
        logits = learned["log_scale"].exp() * (unit_anchors @ unit_candidates.T) + learned["bias"]
        terms = -F.logsigmoid(torch.where(relation.same_group, logits, -logits))
        return LossSum(terms.masked_fill(relation.excluded_mask, 0).sum(), terms.new_full((), len(anchors)))
