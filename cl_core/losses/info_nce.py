"""InfoNCE: find the positive among all candidates."""

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, logsumexp

from cl_core.losses import LossSum, PairLoss, Relation
from cl_core.registry import LOSSES


@LOSSES.register("info_nce")
class InfoNCE(PairLoss):
    """Cross-entropy of finding the positive among all other candidates.

    Source: Chen et al. 2020, "SimCLR", arXiv:2002.05709, Eq. 1 (there NT-Xent).
    """

    temperature: float = Field(
        0.2,
        gt=0,
        le=100,
        title="Temperature",
        description="Divides the cosine similarities. Dimensionless; 0.1 to 0.5 in the paper's table 5.",
    )

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation) -> LossSum:
        """See `info_nce`."""
        return info_nce(anchors, candidates, relation, temperature=self.temperature)


def info_nce(anchors: Tensor, candidates: Tensor, relation: Relation, *, temperature: float) -> LossSum:
    """The sum over anchors and their positives of -log(softmax over all candidates but the anchor itself).

    Args:
        anchors: (A, D) float, normalised here.
        candidates: (K, D) float, normalised here.
        relation: Who is who. An anchor without positives adds nothing and is not counted; each of several positives
            is a term of its own, so that with one positive per anchor the mean is the paper's.
        temperature: Divides the cosine similarities; above 0.

    Returns:
        Sum and number of (anchor, positive) terms, in nats. The mean is log(K - 1) when all rows coincide and
        anchors are among the candidates, log(K) when they are not.

    Source: Chen et al. 2020, "SimCLR", arXiv:2002.05709, Eq. 1; van den Oord et al. 2018, arXiv:1807.03748, Eq. 4.
        Differences: none for one positive per anchor.
    """
    similarities = F.normalize(anchors, dim=1) @ F.normalize(candidates, dim=1).T / temperature
    similarities = similarities.masked_fill(relation.itself, -float("inf"))
    positives = relation.positives
    # Masked, not multiplied by zero: the anchor's own logit is minus infinity.
    log_probabilities = similarities - logsumexp(similarities, dim=1, keepdim=True)
    total = -log_probabilities.masked_fill(~positives, 0.0).sum()
    return LossSum(total, positives.sum().to(total.dtype))
