"""SCARF's views of vectors: some values replaced by those of other samples."""

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from cl_core.columns import SamplePool
from cl_core.modalities._processor import Processor
from cl_core.registry import VIEWS
from cl_core.rng import SampleRng
from cl_core.views import Views

# Of each corrupted view: one stream says which values are replaced, the next from which samples.
_STREAMS = 2


@VIEWS.register("scarf")
class SCARFViews(Views):
    """Two views, the sample itself and a corrupted one: some of its values, each by a draw from its marginal.

    Exactly floor(rate * D) of D values are replaced, each by the same value of another training sample.

    Source: Bahri et al. 2022, "SCARF: Self-supervised contrastive learning using random feature corruption",
    arXiv:2106.15147, Algorithm 1. Differences: a category that was written as several 0/1 values is corrupted value by
    value.
    """

    modalities: ClassVar[tuple[str, ...]] = ("vector",)
    count: ClassVar[int] = 2

    corruption_rate: float = Field(0.6, ge=0, le=1)
    """Share of the values that are replaced. Paper: 0.6. Fraction."""
    corrupted: Literal["one", "both"] = "one"
    """Views that are corrupted. Paper: one, beside the sample itself."""

    def __call__(self, rows: Tensor, *, rng: SampleRng, processor: Processor, pool: SamplePool) -> tuple[Tensor, ...]:
        """Make the views of a batch; see `Views`."""
        clean = [rows] if self.corrupted == "one" else []
        corrupted = [self._corrupted(rows, rng, pool, view) for view in range(self.count - len(clean))]
        return tuple(processor(view) for view in [*clean, *corrupted])

    def _corrupted(self, rows: Tensor, rng: SampleRng, pool: SamplePool, view: int) -> Tensor:
        values = rows.shape[1]
        # The rounding keeps 0.6 * 5 from falling below 3.
        replaced = int(np.floor(round(self.corruption_rate * values, 9)))
        ranks = rng.uniforms(stream=_STREAMS * view, count=values)
        chosen = np.argsort(ranks, axis=1, kind="stable")[:, :replaced]
        # Number i belongs to value i, whether it is replaced or not.
        positions = rng.positions(stream=_STREAMS * view + 1, count=values, size=len(pool.column)).T
        drawn = pool.values(np.take_along_axis(positions, chosen, axis=1), chosen)
        return rows.scatter(1, torch.from_numpy(chosen).to(rows.device), drawn)
