"""Methods whose objective is a statistic of the whole batch, such as a correlation, rather than a sum over pairs."""

from abc import abstractmethod
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from cl_core.encoders import Encoder
from cl_core.losses import PairLoss
from cl_core.methods import FromPaper, Method, MethodOptions, Samples, Step
from cl_core.methods._heads import Projected, mlp_head
from cl_core.parallel import collectives


class WholeBatchOptions(MethodOptions):
    """Views, projector and objective of Barlow Twins and VICReg, whose papers agree on the first two."""

    paper_loss: ClassVar[FromPaper | None] = None
    paper_views: ClassVar[FromPaper] = FromPaper("moco_v3", {"crop_area_min": 0.08})

    projector_hidden: int = Field(1024, ge=1, le=65_536, title="Projector hidden width")
    """Width of the projector's two hidden layers. Units; the papers use 8192 on ImageNet, solo-learn 2048 on CIFAR;
    smaller here, for CPUs."""
    projector_features: int = Field(1024, ge=2, le=65_536, title="Projector output width")
    """D, dimensions that are decorrelated; wider is better. Units; the papers use 8192 on ImageNet, solo-learn 2048 on
    CIFAR; smaller here, for CPUs."""

    def build(self, encoder: Encoder, loss: PairLoss | None) -> Method:
        """Build a projector of two hidden layers, and a last one without bias, which the objective ignores."""
        hidden = self.projector_hidden
        widths = [encoder.features, hidden, hidden, self.projector_features]
        return WholeBatch(encoder, mlp_head(widths, last_bias=False), self)

    @abstractmethod
    def objective(self, first: Tensor, second: Tensor) -> Tensor:
        """Compute the loss of the whole batch.

        Args:
            first: (B, D) float, this worker's rows of the first view; B may differ between workers, and be 0.
            second: (B, D) float, of the second view; row i is of the same sample.

        Returns:
            () the loss over all workers' rows, the same on every worker.

        Raises:
            ValueError: When the views differ in shape.
        """

    @abstractmethod
    def trivial_losses(self) -> dict[str, float]:
        """Return the losses of solutions that learn nothing, by name, for any number of samples."""


class WholeBatch(Projected):
    """Encoder f, projector g, and an objective of g(f(first view)) and g(f(second view)) over all workers' rows.

    Args:
        encoder: f.
        projector: g; dropped after training.
        options: With the objective.
    """

    def __init__(self, encoder: Encoder, projector: nn.Module, options: WholeBatchOptions) -> None:
        super().__init__(encoder, projector)
        self.options = options

    def contrast(self, embedded: tuple[Tensor, ...], samples: Samples) -> Step:
        """Compute the objective; row i of either view is of sample i."""
        first, second = embedded
        with torch.autocast(first.device.type, enabled=False):
            loss = self.options.objective(first, second)
        return Step(loss, torch.cat(embedded).detach(), samples.ids.repeat(2))

    def trivial_losses(self, samples: int) -> dict[str, float]:
        """Return those of the objective."""
        return self.options.trivial_losses()


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
