"""What turns cached vectors into what encoders take."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cl_core.columns import Batch
from cl_core.modalities import ArraySpec
from cl_core.modalities._processor import Processor


class VectorProcessor(Processor):
    """Standardize vectors; a missing value becomes the mean, and a mask says so if the training data have any.

    Args:
        mean: (D,) float32, of the training split.
        std: (D,) float32 above 0, of the training split.
        masked: Whether encoders take a mask beside the values: 1 where a value is missing.
        columns: (D,) int64, rising from 0: which values are of one column, as the 0/1 values of a category are; None
            where each value is a column.
    """

    mean: Tensor
    std: Tensor
    masked: Tensor
    columns: Tensor | None

    def __init__(
        self,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        *,
        masked: bool,
        columns: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__((ArraySpec("float32", mean.shape),))
        self.has_mask = masked
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        self.register_buffer("masked", torch.tensor([masked]))
        self.register_buffer("columns", None if columns is None else torch.tensor(columns))

    @property
    def view_shape(self) -> tuple[int, ...]:
        """(D,), or (2 * D,) with a mask."""
        values = len(self.mean)
        return (2 * values if self.has_mask else values,)

    def values(self, rows: Batch) -> Tensor:
        """Turn (..., D) float32 with NaN into (..., D) standardized values, then the mask if there is one."""
        (vectors,) = rows
        missing = torch.isnan(vectors)
        standardized = torch.where(missing, 0.0, (vectors - self.mean) / self.std)
        return torch.cat([standardized, missing.to(standardized.dtype)], dim=-1) if self.has_mask else standardized

    def view(self, values: Tensor) -> Tensor:
        """Return the values as they are."""
        return values

    def restored(self, views: Tensor) -> Batch:
        """Return the vectors of (N, *view) float32; missing where the mask says so."""
        width = len(self.mean)
        vectors = views[:, :width] * self.std + self.mean
        return (torch.where(views[:, width:] > 0.5, torch.nan, vectors) if self.has_mask else vectors,)
