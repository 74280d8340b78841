"""Supervised contrastive loss: the samples of a class find each other among all others."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from cl_core.losses import Learned, LossSum, Relation
from cl_core.losses._pair_sums import SoftmaxLoss
from cl_core.registry import LOSSES


@LOSSES.register("supcon")
class SupCon(SoftmaxLoss):
    """Cross-entropy of finding the positives among all other candidates, averaged over each anchor's positives.

    -mean over positives of log(softmax over all candidates except the anchor itself). An anchor without positives adds
    nothing and is not counted.

    Source: Khosla et al. 2020, "Supervised contrastive learning", arXiv:2004.11362, Eq. 2 (`out`) and 3 (`in`).
    Differences: the mean over anchors with positives, where the paper has the sum over all.
    """

    temperature: float = Field(0.1, gt=0, le=100)
    """Divides the cosine similarities. Dimensionless; the paper uses 0.1."""
    variant: Literal["out", "in"] = "out"
    """Whether the mean over positives is outside the logarithm (`out`), as the paper recommends, or inside (`in`),
    where the closest positive can suffice."""

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Sum over anchors that have positives, in nats.

        The mean is log(K - 1) when all rows coincide and anchors are among the candidates, log(K) when they are not.
        """
        sums = self.sums(anchors, candidates, relation)
        has_positive = sums.positives > 0
        positives = sums.positives.clamp(min=1)
        positive = sums.positive_sum / positives if self.variant == "out" else sums.positive_lse - positives.log()
        terms = (sums.lse - positive).masked_fill(~has_positive, 0)
        return LossSum(terms.sum(), has_positive.sum(dtype=terms.dtype))
