"""InfoNCE: find the positive among all candidates."""

from torch import Tensor

from cl_core.losses import Learned, LossSum, Relation
from cl_core.losses._pair_sums import SoftmaxLoss, cross_entropy
from cl_core.registry import LOSSES


@LOSSES.register("info_nce")
class InfoNCE(SoftmaxLoss):
    """Cross-entropy of finding the positive among all other candidates.

    -log(softmax over all candidates except the anchor itself) of each positive. An anchor without positives adds
    nothing and is not counted. Each of several positives is a term of its own.

    Source: Chen et al. 2020, "SimCLR", arXiv:2002.05709, Eq. 1 (there NT-Xent); van den Oord et al. 2018,
    arXiv:1807.03748, Eq. 4. Differences: none for one positive per anchor.
    """

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Sum over (anchor, positive) terms, in nats.

        The mean is log(K - 1) when all rows coincide and anchors are among the candidates, log(K) when they are not.
        """
        return cross_entropy(self.sums(anchors, candidates, relation))
