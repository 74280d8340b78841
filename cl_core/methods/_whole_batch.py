"""Methods whose objective is a statistic of the whole batch, such as a correlation, rather than a sum over pairs."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from cl_core.encoders import Encoder
from cl_core.losses import at_least_float32
from cl_core.methods import FromPaper, Method, MethodOptions, Samples, Step
from cl_core.methods._heads import mlp_head
from cl_core.parallel import collectives


class WholeBatchOptions(MethodOptions):
    """Views and projector of Barlow Twins and VICReg, whose papers agree on them."""

    paper_loss: ClassVar[FromPaper | None] = None
    paper_views: ClassVar[FromPaper] = FromPaper("moco_v3", {"crop_area_min": 0.08})

    projector_hidden: int = Field(1024, ge=1, le=65_536, title="Projector hidden width")
    """Width of the projector's two hidden layers. Units; the papers use 8192 on ImageNet, solo-learn 2048 on CIFAR;
    smaller here, for CPUs."""
    projector_features: int = Field(1024, ge=2, le=65_536, title="Projector output width")
    """D, dimensions that are decorrelated; wider is better. Units; the papers use 8192 on ImageNet, solo-learn 2048 on
    CIFAR; smaller here, for CPUs."""

    def projector(self, encoder: Encoder) -> nn.Module:
        """Build two hidden layers and a last one without bias, which the objective ignores; dropped after training."""
        hidden = self.projector_hidden
        return mlp_head([encoder.features, hidden, hidden, self.projector_features], last_bias=False)


class WholeBatch(Method):
    """Encoder f, projector g, and an objective of g(f(first view)) and g(f(second view)) over all workers' rows.

    Args:
        encoder: f.
        projector: g; dropped after training.
        objective: This worker's (B, D) float32 rows of either view to the () loss, the same on every worker.
        trivial_losses: Losses of solutions that learn nothing, by name.
    """

    def __init__(
        self,
        encoder: Encoder,
        projector: nn.Module,
        objective: Callable[[Tensor, Tensor], Tensor],
        trivial_losses: Mapping[str, float],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.objective = objective
        self._trivial_losses = trivial_losses

    def embed(self, views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Pass both views together through encoder and projector, and split them again."""
        rows = at_least_float32(self.projector(self.encoder(torch.cat(views))))
        return rows.chunk(len(views))

    def contrast(self, embedded: tuple[Tensor, ...], samples: Samples) -> Step:
        """Compute the objective; row i of either view is of sample i."""
        first, second = embedded
        with torch.autocast(first.device.type, enabled=False):
            loss = self.objective(first, second)
        return Step(loss, torch.cat(embedded).detach(), samples.ids.repeat(2))

    def trivial_losses(self, samples: int) -> dict[str, float]:
        """Return the given values, which hold for any number of samples."""
        return dict(self._trivial_losses)


def paired_rows(first: Tensor, second: Tensor) -> Tensor:
    """Return () N, the number of rows of all workers in either view, in the rows' precision.

    Raises:
        ValueError: When the rows of the views are not paired; it names the shapes that came.
    """
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"wanted two views (B, D) of one shape; got {tuple(first.shape)} and {tuple(second.shape)}")
    return collectives.all_reduce_sum(first.new_tensor(len(first)))


def centered(rows: Tensor, count: Tensor) -> Tensor:
    """Return (B, D) this worker's rows minus the mean over all workers' N = count rows."""
    return rows - collectives.all_sum(rows.sum(dim=0)) / count


def off_diagonal(matrix: Tensor) -> Tensor:
    """Return the (D, D) matrix with zeros on its diagonal."""
    return matrix - matrix.diagonal().diag()
