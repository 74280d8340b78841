"""The mean of one term per pair, for losses that treat each pair independently."""

from torch import Tensor

from cl_core.losses import LossSum, PairLoss, Relation


class PairMeanLoss(PairLoss):
    """A loss that is a mean over independent pairs."""

    balanced: bool = False
    """On: an anchor's positives and negatives have equal total weight, whatever their numbers. Off: every pair has the
    same weight, as in the papers; nearly all pairs of a batch are negatives."""

    def mean(self, terms: Tensor, relation: Relation) -> LossSum:
        """Sum (A, K) terms over all pairs of an anchor with a candidate other than itself.

        Balanced, sum over anchors half the mean over their positives plus half the mean over their negatives. An anchor
        that lacks either has nothing to balance, and is left out. Weights that follow from an anchor's own candidates
        can be summed over workers; the shares of positives and negatives in the whole batch could not.
        """
        excluded, same_group = relation.excluded_mask, relation.same_group
        if not self.balanced:
            return LossSum(terms.masked_fill(excluded, 0).sum(), (~excluded).sum(dtype=terms.dtype))
        positive, negative = same_group & ~excluded, ~(same_group | excluded)
        positives, negatives = positive.sum(1, dtype=terms.dtype), negative.sum(1, dtype=terms.dtype)
        of_positives = terms.masked_fill(~positive, 0).sum(1) / positives.clamp(min=1)
        of_negatives = terms.masked_fill(~negative, 0).sum(1) / negatives.clamp(min=1)
        has_both = (positives > 0) & (negatives > 0)
        halves = (of_positives + of_negatives).masked_fill(~has_both, 0) / 2
        return LossSum(halves.sum(), has_both.sum(dtype=terms.dtype))
