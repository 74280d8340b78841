"""N-pair loss: a positive's dot product exceeds those of all negatives together."""

from pydantic import Field
from torch import Tensor

from cl_core.losses import Learned, LossSum, Relation
from cl_core.losses._pair_sums import TiledLoss, pair_sums
from cl_core.registry import LOSSES


@LOSSES.register("n_pair")
class NPair(TiledLoss):
    """log(1 + sum over negatives of exp(x . x- - x . x+)) on unnormalized dot products, plus an L2 penalty.

    An anchor without positives adds nothing, its length neither, and is not counted. Several positives are averaged
    over, each beside the others and all negatives.

    Source: Sohn 2016, "Improved deep metric learning with multi-class N-pair loss objective", NIPS 2016, Eq. 6 and
    Sec. 3.2. Differences: none for one positive per anchor; for several as TensorFlow's npairs_loss, since the paper's
    batches have one.
    """

    l2_weight: float = Field(0.001, ge=0, le=1000)
    """Weight of the anchors' mean squared length, which keeps dot products bounded. Dimensionless; the paper names no
    value, and TensorFlow's npairs_loss corresponds to 0.001."""

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Sum over anchors x that have positives, in nats.

        When all rows coincide the mean is log(K) + l2_weight ||x||^2, or log(K - 1) + ... when anchors are among the
        candidates. Each row's length counts once, as an anchor's, on the worker that holds it.
        """
        sums = pair_sums(anchors, candidates, relation, scale=1.0, tile=self.tile)
        has_positive = sums.positives > 0
        # With one positive this is log(1 + sum of exp of differences), without overflow.
        losses = sums.lse - sums.positive_sum / sums.positives.clamp(min=1)
        terms = losses + self.l2_weight * anchors.square().sum(1)
        return LossSum(terms.masked_fill(~has_positive, 0).sum(), has_positive.sum(dtype=terms.dtype))
