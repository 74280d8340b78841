"""InfoNCE: find the positive among all candidates."""

from torch import Tensor

from cl_core.losses import Learned, LossSum, Relation
from cl_core.losses._pair_sums import SoftmaxLoss, cosine_sums
from cl_core.registry import LOSSES


@LOSSES.register("info_nce")
class InfoNCE(SoftmaxLoss):
    """Cross-entropy of finding the positive among all other candidates.

    Source: Chen et al. 2020, "SimCLR", arXiv:2002.05709, Eq. 1 (there NT-Xent).
    """

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Compute `info_nce` with these options."""
        return info_nce(anchors, candidates, relation, temperature=self.temperature, tile=self.tile)


def info_nce(anchors: Tensor, candidates: Tensor, relation: Relation, *, temperature: float, tile: int) -> LossSum:
    """Sum -log(softmax over all candidates except the anchor itself) over anchors and their positives.

    Args:
        anchors: (A, D) float, normalized here.
        candidates: (K, D) float, normalized here.
        relation: Who is who. An anchor without positives adds nothing and is not counted; each of several positives
            is a term of its own, so that with one positive per anchor the mean is the paper's.
        temperature: Divides the cosine similarities; above 0.
        tile: Side of a square tile of pairs, in rows; 0 processes all pairs at once.

    Returns:
        Sum and number of (anchor, positive) terms, in nats. The mean is log(K - 1) when all rows coincide and
        anchors are among the candidates, log(K) when they are not.

    Source: Chen et al. 2020, "SimCLR", arXiv:2002.05709, Eq. 1; van den Oord et al. 2018, arXiv:1807.03748, Eq. 4.
        Differences: none for one positive per anchor.
    """
    sums = cosine_sums(anchors, candidates, relation, temperature=temperature, tile=tile)
    # An anchor without any candidate has an infinite log-sum-exp, which 0 times does not remove.
    spread = (sums.positives * sums.lse).masked_fill(sums.positives == 0, 0)
    return LossSum((spread - sums.positive_sum).sum(), sums.positives.sum())
