"""N-pair loss: a positive's dot product exceeds those of all negatives together."""

from pydantic import Field
from torch import Tensor

from cl_core.losses import Learned, LossSum, Relation
from cl_core.losses._pair_sums import TiledLoss, pair_sums
from cl_core.registry import LOSSES


@LOSSES.register("n_pair")
class NPair(TiledLoss):
    """log(1 + sum over negatives of exp(x . x- - x . x+)) on unnormalized dot products, plus an L2 penalty.

    Source: Sohn 2016, "Improved deep metric learning with multi-class N-pair loss objective", NIPS 2016, Eq. 6.
    """

    l2_weight: float = Field(0.001, ge=0, le=1000)
    """Weight of the anchors' mean squared length, which keeps dot products bounded. Dimensionless; the paper names no
    value, and TensorFlow's npairs_loss corresponds to 0.001."""

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Compute `n_pair` with these options."""
        return n_pair(anchors, candidates, relation, l2_weight=self.l2_weight, tile=self.tile)


def n_pair(anchors: Tensor, candidates: Tensor, relation: Relation, *, l2_weight: float, tile: int) -> LossSum:
    """Sum log(1 + sum over negatives of exp(x . x- - x . x+)) + l2_weight ||x||^2 over anchors x.

    Args:
        anchors: (A, D) float, not normalized.
        candidates: (K, D) float, not normalized.
        relation: Who is who. An anchor without positives adds nothing, its length neither, and is not counted. Several
            positives are averaged over, each beside the others and all negatives.
        l2_weight: Weighs the squared length of anchors alone: so each row's counts once, on the worker that holds it.
        tile: Side of a square tile of pairs, in rows; 0 processes all pairs at once.

    Returns:
        Sum and number of anchors, in nats. When all rows coincide the mean is log(K) + l2_weight ||x||^2, or
        log(K - 1) + ... when anchors are among the candidates.

    Source: Sohn 2016, NIPS 2016, Eq. 6 and Sec. 3.2. Differences: none for one positive per anchor; for several as
        TensorFlow's npairs_loss, since the paper's batches have one.
    """
    sums = pair_sums(anchors, candidates, relation, scale=1.0, tile=tile)
    has_positive = sums.positives > 0
    # With one positive this is log(1 + sum of exp of differences), without overflow.
    losses = sums.lse - sums.positive_sum / sums.positives.clamp(min=1)
    terms = losses + l2_weight * anchors.square().sum(1)
    return LossSum(terms.masked_fill(~has_positive, 0).sum(), has_positive.sum(dtype=terms.dtype))
