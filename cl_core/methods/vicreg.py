"""VICReg: two views agree, every dimension keeps its variance, and no two dimensions correlate."""

import math
from functools import partial

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cl_core.encoders import Encoder
from cl_core.losses import PairLoss
from cl_core.methods import Method
from cl_core.methods._whole_batch import WholeBatch, WholeBatchOptions, centered, off_diagonal, paired_rows
from cl_core.parallel import collectives
from cl_core.registry import METHODS

# Added to variances, so that a standard deviation of 0 has a gradient; the published code's.
_EPSILON = 1e-4


@METHODS.register("vicreg")
class VICRegOptions(WholeBatchOptions):
    """Options of VICReg. Source: Bardes et al. 2022, arXiv:2105.04906, Sec. 4 and its published code.

    Differences: the projector (the paper's expander) is narrower.
    """

    invariance_weight: float = Field(25.0, gt=0, le=1000)
    """Weighs the mean squared difference of the views. Dimensionless; paper: 25."""
    variance_weight: float = Field(25.0, gt=0, le=1000)
    """Weighs how far each dimension's standard deviation is below 1. Dimensionless; paper: 25."""
    covariance_weight: float = Field(1.0, ge=0, le=1000)
    """Weighs the squared covariances between dimensions; 0 is off. Dimensionless; paper: 1."""

    def build(self, encoder: Encoder, loss: PairLoss | None) -> Method:
        """Build the paper's network: encoder, projector, and the objective below."""
        objective = partial(
            vicreg,
            invariance_weight=self.invariance_weight,
            variance_weight=self.variance_weight,
            covariance_weight=self.covariance_weight,
        )
        return WholeBatch(
            encoder,
            self.projector(encoder),
            objective,
            {"every embedding is the same": self.variance_weight * (1 - math.sqrt(_EPSILON))},
        )


def vicreg(
    first: Tensor, second: Tensor, *, invariance_weight: float, variance_weight: float, covariance_weight: float
) -> Tensor:
    """Compute the views' mean squared difference and their dimensions' variance and covariance terms.

    Args:
        first: (B, D) float, this worker's rows of the first view; B may differ between workers, and be 0.
        second: (B, D) float, of the second view; row i is of the same sample.
        invariance_weight: Paper: lambda, 25.
        variance_weight: Paper: mu, 25. Of the mean over the views.
        covariance_weight: Paper: nu, 1. Of the sum over the views.

    Returns:
        () the loss of the whole batch, the same on every worker: variance_weight * 0.99 when all rows coincide.

    Raises:
        ValueError: When the views differ in shape.

    Source: Bardes et al. 2022, "VICReg", arXiv:2105.04906, Eq. 1-6. Differences: as in its published code, the mean
        of the views' variance terms is taken and not their sum, and of the squared differences over the dimensions.
    """
    count, dimensions = paired_rows(first, second), first.shape[1]
    invariance = collectives.all_sum((first - second).square().sum()) / (count * dimensions)
    variance, covariance = first.new_zeros(()), first.new_zeros(())
    for rows in (centered(first, count), centered(second, count)):
        covariances = collectives.all_sum(rows.T @ rows) / (count - 1)
        deviations = (covariances.diagonal() + _EPSILON).sqrt()
        variance = variance + F.relu(1 - deviations).mean() / 2
        covariance = covariance + off_diagonal(covariances).square().sum() / dimensions
    return invariance_weight * invariance + variance_weight * variance + covariance_weight * covariance
