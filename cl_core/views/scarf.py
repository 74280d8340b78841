"""SCARF's views of vectors: some columns replaced by those of other samples."""

from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from cl_core.columns import Batch, SamplePool
from cl_core.modalities._processor import Processor
from cl_core.registry import VIEWS
from cl_core.rng import SampleRng
from cl_core.views import Views

# Of each corrupted view: one stream says which values are replaced, the next from which samples.
_STREAMS = 2


@VIEWS.register("scarf")
class SCARFViews(Views):
    """Two views, the sample itself and a corrupted one: some of its columns, each by a draw from its marginal.

    Exactly floor(rate * C) of C columns are replaced, each by the same column of another training sample. A number is a
    column, and so are all 0/1 values of a category of the source `table`.

    Source: Bahri et al. 2022, "SCARF: Self-supervised contrastive learning using random feature corruption",
    arXiv:2106.15147, Algorithm 1. Differences: none.
    """

    modalities: ClassVar[tuple[str, ...]] = ("vector",)
    count: ClassVar[int] = 2

    corruption_rate: float = Field(0.6, ge=0, le=1)
    """Share of the columns that are replaced. Paper: 0.6. Fraction."""
    corrupted: Literal["one", "both"] = "one"
    """Views that are corrupted. Paper: one, beside the sample itself."""

    def __call__(self, rows: Batch, *, rng: SampleRng, processor: Processor, pool: SamplePool) -> tuple[Tensor, ...]:
        """Make the views of a batch; see `Views`."""
        (vectors,) = rows
        clean = [vectors] if self.corrupted == "one" else []
        columns = getattr(processor, "columns", None)
        values = np.arange(vectors.shape[1]) if columns is None else columns.numpy(force=True)
        corrupted = [self._corrupted(vectors, values, rng, pool, view) for view in range(self.count - len(clean))]
        return tuple(processor((view,)) for view in [*clean, *corrupted])

    def _corrupted(
        self, rows: Tensor, column_of: NDArray[np.int64], rng: SampleRng, pool: SamplePool, view: int
    ) -> Tensor:
        """Corrupt (B, D) rows; `column_of` is (D,), rising from 0."""
        columns = int(column_of[-1]) + 1
        # The rounding keeps 0.6 * 5 from falling below 3.
        replaced = int(np.floor(round(self.corruption_rate * columns, 9)))
        ranks = rng.uniforms(stream=_STREAMS * view, count=columns)
        chosen = np.argsort(ranks, axis=1, kind="stable")[:, :replaced]
        # Number i belongs to column i, whether it is replaced or not.
        positions = rng.positions(stream=_STREAMS * view + 1, count=columns, size=len(pool)).T
        if columns == len(column_of):
            drawn = pool.values(np.take_along_axis(positions, chosen, axis=1), chosen)
            return rows.scatter(1, torch.from_numpy(chosen).to(rows.device), drawn)
        mask = np.zeros((len(rows), columns), np.bool_)
        np.put_along_axis(mask, chosen, True, axis=1)
        every = np.broadcast_to(np.arange(len(column_of)), rows.shape)
        return torch.where(
            torch.from_numpy(mask[:, column_of]).to(rows.device), pool.values(positions[:, column_of], every), rows
        )
