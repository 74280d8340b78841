"""Barlow Twins: each dimension agrees between two views and is uncorrelated with every other dimension."""

import torch
from pydantic import Field
from torch import Tensor

from cl_core.methods._whole_batch import WholeBatchOptions, centered, off_diagonal, paired_rows
from cl_core.parallel import collectives
from cl_core.registry import METHODS

# Added to variances, as torch's batch norm does, with which the published code standardizes.
_EPSILON = 1e-5


@METHODS.register("barlow_twins")
class BarlowTwinsOptions(WholeBatchOptions):
    """Barlow Twins. Source: Zbontar et al. 2021, "Barlow Twins", arXiv:2103.03230, Sec. 2 and its published code.

    Differences: the projector is narrower, and the loss is scaled by default; 1 is the paper's.
    """

    redundancy_weight: float = Field(0.0051, gt=0, le=1)
    """The paper's lambda: weighs the correlations between dimensions against each dimension's agreement. Dimensionless;
    paper: 0.0051."""
    scale: float = Field(0.1, gt=0, le=1, title="Loss scale")
    """Multiplies the loss, which starts at several times D. Dimensionless; paper: 1, solo-learn: 0.1 on CIFAR."""

    def trivial_losses(self) -> dict[str, float]:
        """Return the loss when all rows coincide, and when all dimensions do."""
        width = self.projector_features
        return {
            "every embedding is the same": self.scale * width,
            "all dimensions are equal": self.scale * self.redundancy_weight * width * (width - 1),
        }

    def objective(self, first: Tensor, second: Tensor) -> Tensor:
        """Measure how far the cross-correlation of the views' dimensions is from the identity.

        Eq. 1-2, where 1e-5 is added to variances, as in the published code.
        """
        count = paired_rows(first, second)
        correlation = collectives.all_sum(_standardized(first, count).T @ _standardized(second, count)) / count
        disagreement = (1 - correlation.diagonal()).square().sum()
        redundancy = off_diagonal(correlation).square().sum()
        return self.scale * (disagreement + self.redundancy_weight * redundancy)


def _standardized(rows: Tensor, count: Tensor) -> Tensor:
    """Standardize each dimension to mean 0 and variance 1 over all workers' rows."""
    rows = centered(rows, count)
    variance = collectives.all_sum(rows.square().sum(dim=0)) / count
    return rows * torch.rsqrt(variance + _EPSILON)
