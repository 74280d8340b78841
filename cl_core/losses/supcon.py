"""Supervised contrastive loss: the samples of a class find each other among all others."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from cl_core.losses import Learned, LossSum, Relation
from cl_core.losses._pair_sums import SoftmaxLoss, cosine_sums
from cl_core.registry import LOSSES

Variant = Literal["out", "in"]


@LOSSES.register("supcon")
class SupCon(SoftmaxLoss):
    """Cross-entropy of finding the positives among all other candidates, averaged over each anchor's positives.

    Source: Khosla et al. 2020, "Supervised contrastive learning", arXiv:2004.11362, Eq. 2 and 3.
    """

    temperature: float = Field(0.1, gt=0, le=100)
    """Divides the cosine similarities. Dimensionless; the paper uses 0.1."""
    variant: Variant = "out"
    """Whether the mean over positives is outside the logarithm (`out`), as the paper recommends, or inside (`in`),
    where the closest positive can suffice."""

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Compute `supcon` with these options."""
        return supcon(anchors, candidates, relation, temperature=self.temperature, variant=self.variant, tile=self.tile)


def supcon(
    anchors: Tensor, candidates: Tensor, relation: Relation, *, temperature: float, variant: Variant, tile: int
) -> LossSum:
    """Sum -mean over positives of log(softmax over all candidates except the anchor itself) over anchors.

    Args:
        anchors: (A, D) float, normalized here.
        candidates: (K, D) float, normalized here.
        relation: Who is who. An anchor without positives adds nothing and is not counted.
        temperature: Divides the cosine similarities; above 0.
        variant: `out`, or `in`: -log(mean over positives of the softmax), which is never more.
        tile: Side of a square tile of pairs, in rows; 0 processes all pairs at once.

    Returns:
        Sum and number of anchors that have positives, in nats. The mean is log(K - 1) when all rows coincide and
        anchors are among the candidates, log(K) when they are not.

    Source: Khosla et al. 2020, arXiv:2004.11362, Eq. 2 (`out`) and 3 (`in`). Differences: the mean over anchors with
        positives, where the paper has the sum over all.
    """
    sums = cosine_sums(anchors, candidates, relation, temperature=temperature, tile=tile)
    has_positive = sums.positives > 0
    positives = sums.positives.clamp(min=1)
    positive = sums.positive_sum / positives if variant == "out" else sums.positive_lse - positives.log()
    terms = (sums.lse - positive).masked_fill(~has_positive, 0)
    return LossSum(terms.sum(), has_positive.sum(dtype=terms.dtype))
