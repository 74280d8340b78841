"""Methods: how the views of a batch become a loss. One file each, written like the paper's algorithm."""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self

from torch import Tensor, nn

from cl_core.encoders import Encoder
from cl_core.errors import SpecError
from cl_core.losses import PairLoss
from cl_core.registry import Component


@dataclass(frozen=True)
class StepInfo:
    """Position of a step in the training; schedules are functions of it."""

    epoch: int = 0
    step: int = 0
    """From 0: the step about to be taken."""
    steps: int = 1
    """Of the whole training."""


@dataclass(frozen=True)
class Samples:
    """Who the samples of one worker's share of a batch are.

    Args:
        ids: (B,) int64, unique per sample of the dataset.
        labels: (B,) int64, -1 where unknown; None when the dataset has none.
        moment: Position of the step in the training.
        identities: (B,) int64, the same for samples that are the same thing, such as two captions of one picture: the
            id of one of them. None where each sample is its own.
    """

    ids: Tensor
    labels: Tensor | None = None
    moment: StepInfo = field(default_factory=StepInfo)
    identities: Tensor | None = None

    @property
    def groups(self) -> Tensor:
        """(B,) int64, the identity of each: rows of one group are positives of each other, never negatives."""
        return self.ids if self.identities is None else self.identities


@dataclass(frozen=True)
class Step:
    """The result of a method on a batch.

    Args:
        loss: () float32, to be differentiated; its gradient averaged over workers is that of the whole batch.
        embeddings: (V * B, D) float32, this worker's embeddings without gradient, view by view; for the monitors.
        groups: (V * B,) int64; rows of one group are what the method wants alike: views of a sample, or of a class.
        metrics: What only this method knows, such as its prototypes' entropy: () float32 each, by name.
    """

    loss: Tensor
    embeddings: Tensor
    groups: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


class Held(nn.Module):
    """A part of a method whose parameters are held between bounds."""

    @abstractmethod
    def hold(self) -> None:
        """Hold the parameters between their bounds; called after each step of the optimizer."""


class Method(nn.Module):
    """A contrastive method: parameters, buffers (queues, prototypes) and the training step.

    A step has two parts. `embed` passes views through networks, and may be called for parts of the batch;
    `contrast` computes the loss of the whole batch. Between them are small tensors, so that a batch larger than memory
    can be trained on with the gradient of the whole.
    """

    encoder: Encoder

    @abstractmethod
    def embed(self, views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Map the views of B samples to what is contrasted: tensors of B rows; parts of a batch may be joined."""

    @abstractmethod
    def contrast(self, embedded: tuple[Tensor, ...], samples: Samples) -> Step:
        """Compute the loss of a batch. Gathering across workers happens here, once, with autograd."""

    def forward(self, views: tuple[Tensor, ...], samples: Samples) -> Step:
        """Embed the views and compute the loss."""
        return self.contrast(self.embed(views), samples)

    def trivial_losses(self, samples: int) -> dict[str, float]:
        """Return the losses of solutions that learn nothing, by name, for a batch of `samples`."""
        return {}

    def after_backward(self, moment: StepInfo) -> None:
        """Adjust gradients before the optimizer step. Does nothing by default."""

    def after_step(self, moment: StepInfo) -> None:
        """Hold parameters between their bounds; methods update momentum networks, queues and prototypes, too."""
        for part in self.modules():
            if isinstance(part, Held):
                part.hold()


class FromPaper(NamedTuple):
    """A component with the options that a method's paper uses."""

    name: str
    options: Mapping[str, Any] = MappingProxyType({})


ANY_LOSS = frozenset[str]()


class MethodOptions(Component):
    """Options of a method; `build` makes the method around an encoder."""

    paper_loss: ClassVar[FromPaper | None]
    """The paper's loss; None when the method's objective is no pair loss, and its own."""
    takes_towers: ClassVar[bool] = False
    """Whether view number n goes through tower n of the encoder, so that towers may differ."""
    accepted_losses: ClassVar[frozenset[str]] = ANY_LOSS
    """Names of the pair losses it can be trained with; empty when it takes any."""
    paper_views: ClassVar[FromPaper] = FromPaper("simclr", {"blur_probability": 0.0})
    """The paper's view policy for small images; by default SimCLR's, which leaves out the blur there (App. B.9)."""

    @property
    def view_counts(self) -> range:
        """How many views of each sample the method can take."""
        return range(2, 3)

    @property
    def needs_labels(self) -> bool:
        """Whether the method needs labeled samples."""
        return False

    @property
    def batch_samples_per_class(self) -> int:
        """Samples per class in each batch; 0 if batches do not depend on classes."""
        return 0

    def fitted_to(self, class_sizes: Collection[int], *, batch_size: int) -> Self:
        """Return the method with the options that were left open chosen for the data; by default none is.

        Args:
            class_sizes: Samples of each class that are trained on; empty without labels.
            batch_size: Samples per step, over all workers.
        """
        return self

    def check(self, loss: PairLoss | None, *, epochs: int) -> None:
        """Refuse options that contradict each other, the loss or the training's length.

        Args:
            loss: The pair loss, if there is one.
            epochs: Passes over the data.

        Raises:
            SpecError: Naming the field.
        """

    def check_data(self, *, batch_size: int, train_rows: int) -> None:
        """Refuse options that do not suit the batch or the data.

        Args:
            batch_size: Samples per step, over all workers.
            train_rows: Samples of the training split.

        Raises:
            SpecError: Naming the field.
        """

    @abstractmethod
    def build(self, encoder: Encoder, loss: PairLoss | None) -> Method:
        """Build the method; its own weights are drawn from torch's global generator.

        Args:
            encoder: What is trained.
            loss: None exactly when `paper_loss` is.
        """


def require_loss(loss: PairLoss | None) -> PairLoss:
    """Return the loss of a method that needs one."""
    assert loss is not None, "a method with a published loss is built with one"
    return loss


def option_error(path: str, sentence: str) -> SpecError:
    """Return an error about an option of the method."""
    return SpecError(f"training.method_options.{path}: {sentence}")
