"""CLIP's loss: find the one that belongs to it among all of the other kind, with a learned scale."""

import math
from collections.abc import Mapping

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cl_core.losses import Learned, LossSum, Relation
from cl_core.losses._pair_sums import TiledLoss, cross_entropy, pair_sums
from cl_core.registry import LOSSES


@LOSSES.register("clip")
class Clip(TiledLoss):
    """Cross-entropy of finding the positive among all candidates, with a learned temperature.

    -log(softmax over all candidates of exp(log_scale) * cosine) of each positive: InfoNCE whose temperature,
    exp(-log_scale), is learned with the encoder. After each step the scale is held between 1 and `most_scale`. An
    anchor without positives adds nothing and is not counted. Each of several positives is a term of its own.

    Source: Radford et al. 2021, "Learning transferable visual models from natural language supervision",
    arXiv:2103.00020, Fig. 3 and Sec. 2.5. Differences: none for one positive per anchor.
    """

    start_temperature: float = Field(0.07, gt=0, le=1, title="Initial temperature")
    """Initial value of exp(-log_scale), which divides the cosine similarities. Dimensionless; the paper uses 0.07."""
    most_scale: float = Field(100.0, ge=1, le=1000, title="Maximum scale")
    """The scale is not learned beyond it: then training is not stable. Dimensionless; the paper uses 100."""

    def learned_start(self) -> dict[str, float]:
        """Return the log of the scale, which keeps the scale positive."""
        return {"log_scale": -math.log(self.start_temperature)}

    def learned_bounds(self) -> dict[str, tuple[float, float]]:
        """Return the bounds of the log of the scale."""
        return {"log_scale": (0.0, math.log(self.most_scale))}

    def logit_scale(self, learned: Mapping[str, float]) -> float:
        """Return the scale that was learned."""
        return math.exp(learned["log_scale"])

    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Sum over (anchor, positive) terms, in nats; the mean is log(K) when all rows coincide."""
        # The scale is a factor of the anchors, so that its gradient is that of any other factor.
        scaled = learned["log_scale"].exp() * F.normalize(anchors, dim=1)
        return cross_entropy(pair_sums(scaled, F.normalize(candidates, dim=1), relation, scale=1, tile=self.tile))
