"""DACL's views: each sample mixed with another, whatever kind of data it is."""

from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from cl_core.columns import Batch, SamplePool
from cl_core.errors import SpecError
from cl_core.modalities._processor import Processor
from cl_core.registry import VIEWS
from cl_core.rng import SampleRng
from cl_core.views import Views
from cl_core.views.image_operations import distributions
from cl_core.views.image_operations.mixup import binary_mixup, geometric_mixup, linear_mixup

# Column 0 of a sample's uniform numbers is its share; those of a mask follow, one per value.
_SHARE = 0
_MASK = 1
_MOST_VALUES = 2**18 - _MASK


@VIEWS.register("dacl_mixup")
class DACLMixupViews(Views):
    """Two views, each the sample mixed with another sample of the training split, and nothing else.

    Pixels are mixed between 0 and 1, before they are normalized; vectors are standardized before.

    Source: Verma et al. 2021, "Towards domain-agnostic contrastive learning", arXiv:2011.04419, Algorithm 1.
    Differences: a mask keeps a value with the probability that is the sample's share in the other two ways of mixing.
    """

    modalities: ClassVar[tuple[str, ...]] = ()
    count: ClassVar[int] = 2

    mixing: Literal["linear", "geometric", "binary"] = "linear"
    """How two samples become one: the weighted arithmetic mean (linear), the weighted geometric mean (geometric), or
    each value from one of them (binary). Paper: linear."""
    alpha: float = Field(0.5, ge=0.5, lt=1, title="Min. mixing weight")
    """The sample's weight in its view is uniform between this and 1. Paper: alpha, at least 0.5, so that the sample
    outweighs its partner."""
    without: tuple[Literal["mixup"], ...] = Field((), title="Disabled operations")
    """Operations to disable, for ablations: mixup. Both views are then the sample itself."""

    def __call__(self, rows: Batch, *, rng: SampleRng, processor: Processor, pool: SamplePool) -> tuple[Tensor, ...]:
        """Make the views of a batch; see `Views`."""
        views = (processor.values(rows),) * self.count
        if "mixup" not in self.without:
            views = self.mixed(views[0], processor.values(pool.partners(rng, count=self.count)), rng=rng)
        return tuple(processor.view(view) for view in views)

    def mixed(self, rows: Tensor, partners: Tensor, *, rng: SampleRng) -> tuple[Tensor, ...]:
        """Mix vectors, or samples of any other shape, each with another; Algorithm 1.

        Args:
            rows: (B, F) float, or (B, ...). Columns of unlike units are standardized before; geometric mixing needs
                values that are not negative, which whoever writes the data checks.
            partners: (V, B, F) float, or (V, B, ...): training rows as `SamplePool` draws them, one per view and row.
            rng: Of the B samples; it decides every draw.

        Returns:
            V tensors like `rows`.

        Raises:
            SpecError: When a row has more values than a mask has draws for.
        """
        views = []
        for view, others in enumerate(partners):
            draws = rng.uniforms(stream=view, count=_MASK)
            shares = distributions.between(draws[:, _SHARE], self.alpha, 1.0)
            if self.mixing == "binary":
                mask = _masks(shares, rows.shape[1:], rng=rng, view=view)
                views.append(binary_mixup(rows, others, torch.from_numpy(mask)))
            else:
                mix = linear_mixup if self.mixing == "linear" else geometric_mixup
                views.append(mix(rows, others, torch.from_numpy(shares)))
        return tuple(views)


def _masks(shares: distributions.F64, shape: torch.Size, *, rng: SampleRng, view: int) -> NDArray[np.bool_]:
    """Draw (B, ...) bool, true where a value is the sample's own, with the probability of its mixing weight."""
    values = shape.numel()
    if values > _MOST_VALUES:
        raise SpecError(
            f"training.views_options.mixing: binary mixing draws a number for each value of a sample, {_MOST_VALUES} "
            f"at most, but these have {values}; choose linear or geometric mixing, or smaller images"
        )
    draws = rng.uniforms(stream=view, count=_MASK + values)
    return (draws[:, _MASK:] < shares[:, None]).reshape(-1, *shape)
