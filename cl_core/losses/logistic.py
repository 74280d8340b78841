"""Logistic loss: classify each pair by itself as same or different."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cl_core.losses import Learned, LossSum, Relation
from cl_core.losses._pair_means import PairMeanLoss
from cl_core.registry import LOSSES


@LOSSES.register("logistic")
class Logistic(PairMeanLoss):
    """Binary cross-entropy of telling positives from negatives by their similarity.

    -log sigmoid(y (scale * similarity + bias)) of each pair, y = 1 for positives and -1 for negatives.

    Source: Eysenbach et al. 2022, "Contrastive learning as goal-conditioned reinforcement learning",
    arXiv:2206.07568, Sec. 3, its NCE objective. Differences: none with similarity `dot`, scale 1 and bias 0; balanced,
    it is the paper's objective with its negatives averaged, times 1 / 2; not balanced, the paper's code.
    """

    similarity: Literal["cosine", "dot"] = "cosine"
    """Cosine, or the plain dot product, as in contrastive RL."""
    scale: float = Field(10.0, gt=0, le=1000)
    """Multiplies the similarity: 1 / temperature. Dimensionless; 1 in contrastive RL, 10 initially in SigLIP."""
    bias: float = Field(-10.0, ge=-1000, le=1000)
    """Added to scale * similarity, to account for the many negatives of a batch; with cosines and balanced on, use
    minus half the scale. Nats; 0 in contrastive RL, -10 initially in SigLIP."""

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Sum over pairs, or anchors when balanced, in nats; the mean is log(2) when every logit is 0."""
        if self.similarity == "cosine":
            anchors, candidates = F.normalize(anchors, dim=1), F.normalize(candidates, dim=1)
        logits = self.scale * (anchors @ candidates.T) + self.bias
        terms = -F.logsigmoid(torch.where(relation.same_group, logits, -logits))
        return self.mean(terms, relation)
