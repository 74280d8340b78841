"""Decoupled contrastive loss: InfoNCE whose positive does not compete with the negatives."""

from torch import Tensor

from cl_core.losses import Learned, LossSum, Relation
from cl_core.losses._pair_sums import SoftmaxLoss
from cl_core.registry import LOSSES


@LOSSES.register("decoupled")
class Decoupled(SoftmaxLoss):
    """Minus the positive's similarity, plus the log-sum-exp of the negatives alone.

    -s+ / T + log(sum over negatives of exp(s- / T)) of each positive. An anchor without positives adds nothing and is
    not counted; nor is one without negatives, which would pull without end.

    Source: Yeh et al. 2021, "Decoupled contrastive learning", arXiv:2110.06848, Eq. 6. Differences: none for one
    positive per anchor, and each of several is a term of its own; its weighted variant is another loss.
    """

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Sum over (anchor, positive) terms, in nats; below 0 where positives are nearer than all negatives together.

        The mean is log(K - 2) when all rows coincide, anchors are among the candidates, and each has one positive.
        """
        sums = self.sums(anchors, candidates, relation)
        counted = sums.positives.masked_fill(sums.negatives == 0, 0)
        terms = (sums.positives * sums.negative_lse - sums.positive_sum).masked_fill(counted == 0, 0)
        return LossSum(terms.sum(), counted.sum())
