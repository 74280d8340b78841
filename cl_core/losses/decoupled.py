"""Decoupled contrastive loss: InfoNCE whose positive does not compete with the negatives."""

from torch import Tensor

from cl_core.losses import Learned, LossSum, Relation
from cl_core.losses._pair_sums import SoftmaxLoss, cosine_sums
from cl_core.registry import LOSSES


@LOSSES.register("decoupled")
class Decoupled(SoftmaxLoss):
    """Minus the positive's similarity, plus the log-sum-exp of the negatives alone.

    Source: Yeh et al. 2021, "Decoupled contrastive learning", arXiv:2110.06848, Eq. 6.
    """

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Compute `decoupled` with these options."""
        return decoupled(anchors, candidates, relation, temperature=self.temperature, tile=self.tile)


def decoupled(anchors: Tensor, candidates: Tensor, relation: Relation, *, temperature: float, tile: int) -> LossSum:
    """Sum -s+ / T + log(sum over negatives of exp(s- / T)) over anchors and their positives.

    Args:
        anchors: (A, D) float, normalized here.
        candidates: (K, D) float, normalized here.
        relation: Who is who. Each of several positives is a term of its own. An anchor without positives adds nothing
            and is not counted; nor is one without negatives, which would pull without end.
        temperature: Divides the cosine similarities; above 0.
        tile: Side of a square tile of pairs, in rows; 0 processes all pairs at once.

    Returns:
        Sum and number of (anchor, positive) terms, in nats; below 0 where positives are closer than all negatives
        together. The mean is log(K - 2) when all rows coincide, anchors are among the candidates, and each has one
        positive.

    Source: Yeh et al. 2021, arXiv:2110.06848, Eq. 6. Differences: none for one positive per anchor; its weighted
        variant is another loss.
    """
    sums = cosine_sums(anchors, candidates, relation, temperature=temperature, tile=tile)
    counted = sums.positives.masked_fill(sums.negatives == 0, 0)
    terms = (sums.positives * sums.negative_lse - sums.positive_sum).masked_fill(counted == 0, 0)
    return LossSum(terms.sum(), counted.sum())
