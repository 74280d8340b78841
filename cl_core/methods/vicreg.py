"""VICReg: two views agree, every dimension keeps its variance, and no two dimensions correlate."""

import math

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cl_core.methods._whole_batch import WholeBatchOptions, centered, off_diagonal, paired_rows
from cl_core.parallel import collectives
from cl_core.registry import METHODS

# Added to variances, so that a standard deviation of 0 has a gradient; the published code's.
_EPSILON = 1e-4


@METHODS.register("vicreg")
class VICRegOptions(WholeBatchOptions):
    """VICReg. Source: Bardes et al. 2022, "VICReg", arXiv:2105.04906, Sec. 4 and its published code.

    Differences: the projector (the paper's expander) is narrower.
    """

    invariance_weight: float = Field(25.0, gt=0, le=1000)
    """Weighs the mean squared difference of the views. Dimensionless; paper: 25."""
    variance_weight: float = Field(25.0, gt=0, le=1000)
    """Weighs how far each dimension's standard deviation is below 1. Dimensionless; paper: 25."""
    covariance_weight: float = Field(1.0, ge=0, le=1000)
    """Weighs the squared covariances between dimensions; 0 is off. Dimensionless; paper: 1."""

    def trivial_losses(self) -> dict[str, float]:
        """Return the loss when all rows coincide: nearly the variance term's weight."""
        return {"every embedding is the same": self.variance_weight * (1 - math.sqrt(_EPSILON))}

    def objective(self, first: Tensor, second: Tensor) -> Tensor:
        """Compute the views' mean squared difference and their dimensions' variance and covariance terms.

        Eq. 1-6. As in the published code, the mean of the views' variance terms is taken and not their sum, and of the
        squared differences over the dimensions.
        """
        count, dimensions = paired_rows(first, second), first.shape[1]
        invariance = collectives.all_sum((first - second).square().sum()) / (count * dimensions)
        variance, covariance = first.new_zeros(()), first.new_zeros(())
        for rows in (centered(first, count), centered(second, count)):
            covariances = collectives.all_sum(rows.T @ rows) / (count - 1)
            deviations = (covariances.diagonal() + _EPSILON).sqrt()
            variance = variance + F.relu(1 - deviations).mean() / 2
            covariance = covariance + off_diagonal(covariances).square().sum() / dimensions
        return (
            self.invariance_weight * invariance + self.variance_weight * variance + self.covariance_weight * covariance
        )
