"""Debiased contrastive loss: InfoNCE corrected for negatives of the anchor's own class."""

import torch
from pydantic import Field
from torch import Tensor

from cl_core.losses import Learned, LossSum, Relation
from cl_core.losses._pair_sums import PairSums, SoftmaxLoss
from cl_core.registry import LOSSES


@LOSSES.register("debiased")
class Debiased(SoftmaxLoss):
    """InfoNCE with the expected share of the anchor's own class removed from the negatives.

    -log(exp(s+ / T) / (P + G)) of each positive. P is the sum of exp(s / T) over the anchor's p positives, R the same
    over its n negatives, and G = max((R - tau_plus n P / p) / (1 - tau_plus), n exp(-1 / T)) the expected sum over
    true negatives. An anchor without positives adds nothing and is not counted.

    Source: Chuang et al. 2020, "Debiased contrastive learning", arXiv:2007.00224, Eq. 7 and 8. Differences: none for
    one positive per anchor; of several, each is a term of its own, and all are in the denominator, as in InfoNCE.
    """

    tau_plus: float = Field(0.1, ge=0, lt=1, title="Class probability")
    """Probability that a sample is of the anchor's class: about 1 / number of classes. 0 is InfoNCE. Fraction; the
    paper uses 0.1 on CIFAR-10."""

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Sum over (anchor, positive) terms, in nats.

        The mean is log(K - 1) for every tau_plus when all rows coincide and anchors are among the candidates, log(K)
        when they are not.
        """
        sums = self.sums(anchors, candidates, relation)
        terms = sums.positives * torch.logaddexp(sums.positive_lse, self._log_true_negatives(sums)) - sums.positive_sum
        return LossSum(terms.masked_fill(sums.positives == 0, 0).sum(), sums.positives.sum())

    def _log_true_negatives(self, sums: PairSums) -> Tensor:
        """Return (A,) log G, computed in logarithms: exp(1 / T) overflows float32 below T = 0.012."""
        lacks_one = (sums.positives == 0) | (sums.negatives == 0)
        mean_positive = sums.positive_lse - sums.positives.clamp(min=1).log()
        mean_negative = sums.negative_lse - sums.negatives.clamp(min=1).log()
        # Which part of R is left. Far below 0 it no longer matters how far, and exp would overflow.
        excess = (mean_positive - mean_negative).masked_fill(lacks_one, 0).clamp(max=50)
        share = (1 - self.tau_plus * excess.exp()) / (1 - self.tau_plus)
        log_share = share.masked_fill(share <= 0, 1).log()
        least = sums.negatives.log() - 1 / self.temperature
        return torch.maximum((sums.negative_lse + log_share).masked_fill(share <= 0, -torch.inf), least)
