"""Methods: how the views of a batch become a loss. One file each; each reads like its paper's algorithm."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from cl_core.encoders import Encoder
from cl_core.losses import PairLoss
from cl_core.registry import Component


@dataclass(frozen=True)
class Batch:
    """One worker's share of a batch.

    Args:
        views: One tensor per view, each (B, ...) as the encoder takes it.
        sample_ids: (B,) int64, unique per sample of the dataset.
        labels: (B,) int64, -1 where unknown; None when the dataset has none.
    """

    views: tuple[Tensor, ...]
    sample_ids: Tensor
    labels: Tensor | None


class Step(NamedTuple):
    """What a method makes of a batch.

    Args:
        loss: () float32, to be differentiated; its gradient averaged over workers is that of the whole batch.
        embeddings: (V * B, D) float32, this worker's embeddings, view by view, without gradient; for the monitors.
    """

    loss: Tensor
    embeddings: Tensor


class Method(nn.Module):
    """A contrastive method: parameters, buffers (queues, prototypes) and the step that learns."""

    encoder: Encoder

    @abstractmethod
    def forward(self, batch: Batch) -> Step:
        """One step's loss. Gathering across workers happens here, once, with autograd."""

    def after_step(self) -> None:
        """What follows the optimiser's step: momentum, queue, prototypes. Nothing by default."""


class MethodOptions(Component):
    """Options of a method; `build` makes the method around an encoder."""

    views: ClassVar[int] = 2
    """How many views of each sample the method takes."""

    @abstractmethod
    def build(self, encoder: Encoder, loss: PairLoss) -> Method:
        """The method, its own weights drawn from torch's global generator."""
