"""SwAV: predict from one view the prototypes that another view of the same sample is assigned to."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cl_core.encoders import Encoder
from cl_core.losses import LossSum, PairLoss, at_least_float32
from cl_core.methods import FromPaper, Method, Samples, Step, StepInfo, option_error
from cl_core.methods._heads import ProjectorOptions
from cl_core.methods._queues import ViewQueues
from cl_core.methods._sinkhorn import sinkhorn
from cl_core.parallel import collectives
from cl_core.registry import METHODS

# The first views, at full size, are assigned to prototypes; from the others their assignment is only predicted.
_ASSIGNED_VIEWS = 2


@METHODS.register("swav")
class SwAVOptions(ProjectorOptions):
    """Options of SwAV. Source: Caron et al. 2020, arXiv:2006.09882, Algorithm 1, Sec. 3 and its published code.

    Differences: the defaults for prototypes and projector suit small data and CPUs.
    """

    paper_loss: ClassVar[FromPaper | None] = None
    paper_views: ClassVar[FromPaper] = FromPaper("multi_crop")
    view_counts: ClassVar[range] = range(2, 17)

    prototypes: int = Field(128, ge=2, le=1_000_000)
    """K, at most batch_size + queue_size, since rows are assigned to prototypes in equal parts. Prototypes; paper: 3000
    for batches of 4096, or of 256 and a queue of 3840; 128 is half of a batch of 256."""
    temperature: float = Field(0.1, gt=0, le=100)
    """Divides the cosine similarities in the prediction. Dimensionless; paper: 0.1."""
    epsilon: float = Field(0.05, gt=0, le=100, title="Assignment smoothness")
    """Divides the cosine similarities in the assignment; smaller values give harder assignments. Dimensionless; paper:
    0.05."""
    sinkhorn_iterations: int = Field(3, ge=1, le=100)
    """Iterations that balance the assignments between prototypes. Iterations; paper: 3."""
    freeze_epochs: int = Field(1, ge=0, title="Frozen epochs")
    """Epochs at the start in which prototypes are frozen. Epochs; paper: 1."""
    queue_size: int = Field(0, ge=0, le=1_048_576)
    """Rows of earlier batches, per assigned view, that are assigned together with the batch: for batches smaller than
    the number of prototypes. 0 is off. Rows; paper: 3840 for batches of 256."""
    queue_start_epoch: int = Field(1, ge=0, title="Queue start")
    """First epoch, counted from 0, whose rows enter the queue; the queue is used once it is full. Epochs; paper: 15."""

    def check(self, loss: PairLoss | None, *, epochs: int) -> None:
        """Refuse a start epoch without a queue, and anything that would begin only after the last epoch."""
        if not self.queue_size and self.queue_start_epoch != type(self).model_fields["queue_start_epoch"].default:
            raise option_error(
                "queue_start_epoch",
                f"got {self.queue_start_epoch}, but there is no queue; leave it out, or set queue_size above 0",
            )
        if self.freeze_epochs >= epochs:
            raise option_error(
                "freeze_epochs",
                f"prototypes frozen for {self.freeze_epochs} epochs never learn in a training of {epochs}; choose "
                f"at most {epochs - 1}, or a larger training.epochs",
            )
        if self.queue_size and self.queue_start_epoch >= epochs:
            raise option_error(
                "queue_start_epoch",
                f"a queue that starts with epoch {self.queue_start_epoch}, counted from 0, is never used in a training "
                f"of {epochs}; choose at most {epochs - 1}, or a larger training.epochs",
            )

    def check_data(self, *, batch_size: int, train_rows: int) -> None:
        """Refuse more prototypes than rows that are assigned together, and a queue longer than the data.

        Source: arXiv:2006.09882, Sec. 3.1: a batch smaller than K cannot be equally partitioned into K prototypes.
        """
        rows = batch_size + self.queue_size
        if self.prototypes > rows:
            raise option_error(
                "prototypes",
                f"{self.prototypes} prototypes cannot share {rows} rows equally (batch_size {batch_size} + queue_size "
                f"{self.queue_size}); choose at most {rows}, or a larger training.batch_size or queue_size",
            )
        if self.queue_size > train_rows:
            raise option_error(
                "queue_size",
                f"{self.queue_size} rows are more than the {train_rows} samples of the training split, which would be "
                f"in the queue more than once; choose at most {train_rows}",
            )

    def build(self, encoder: Encoder, loss: PairLoss | None) -> Method:
        """Build a projector with one hidden layer and prototypes, as in the paper; both are dropped after training."""
        prototypes = nn.Linear(self.contrasted_features(encoder), self.prototypes, bias=False)
        return SwAV(encoder, self.projector(encoder), prototypes, self)


class SwAV(Method):
    """Encoder f, projector g, prototypes C; reads like the paper's Algorithm 1.

    Args:
        encoder: f.
        projector: g.
        prototypes: C, a linear layer without bias; its rows are kept at unit length.
        options: All else.
    """

    def __init__(self, encoder: Encoder, projector: nn.Module, prototypes: nn.Linear, options: SwAVOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.prototypes = prototypes
        self.options = options
        size, features = options.queue_size, prototypes.in_features
        self.queues = ViewQueues(views=_ASSIGNED_VIEWS, size=size, features=features) if size else None
        self._to_enter: list[Tensor] = []
        self._normalize_prototypes()

    def embed(self, views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Pass views of one size together through the encoder, and all through the projector, as unit rows."""
        features = torch.cat([self.encoder(torch.cat(list(alike))) for _, alike in groupby(views, lambda v: v.shape)])
        return F.normalize(at_least_float32(self.projector(features)), dim=1).chunk(len(views))

    def contrast(self, embedded: tuple[Tensor, ...], samples: Samples) -> Step:
        """Assign the first views to prototypes, and predict each assignment from all other views."""
        assigned = embedded[:_ASSIGNED_VIEWS]
        with torch.autocast(embedded[0].device.type, enabled=False):
            scores = self.prototypes(torch.cat(embedded)).chunk(len(embedded))
            codes = [self._codes(scores[view].detach(), view) for view in range(len(assigned))]
            loss = swapped_prediction(scores, codes, temperature=self.options.temperature)
            entropy = prototype_entropy(torch.cat(scores[:_ASSIGNED_VIEWS]).detach())
        if self.queues is not None and samples.moment.epoch >= self.options.queue_start_epoch:
            self._to_enter.append(torch.stack(assigned, dim=1).detach())
        return Step(
            loss=collectives.global_mean(loss.total, loss.count),
            embeddings=torch.cat(assigned).detach(),
            groups=samples.ids.repeat(_ASSIGNED_VIEWS),
            metrics={"prototype_entropy": entropy},
        )

    @torch.no_grad()
    def _codes(self, scores: Tensor, view: int) -> Tensor:
        """Return (B, K) assignments of a view's rows, computed together with those of earlier batches."""
        earlier = scores[:0] if self.queues is None else self.prototypes(self.queues.own_share(view))
        epsilon, iterations = self.options.epsilon, self.options.sinkhorn_iterations
        return sinkhorn(torch.cat([earlier, scores]), epsilon=epsilon, iterations=iterations)[len(earlier) :]

    def after_backward(self, moment: StepInfo) -> None:
        """Cancel the prototypes' gradient at the start. None, not zero: momentum and weight decay would move them."""
        if moment.epoch < self.options.freeze_epochs:
            self.prototypes.weight.grad = None

    @torch.no_grad()
    def after_step(self, moment: StepInfo) -> None:
        """Normalize the prototypes; enqueue the step's rows."""
        super().after_step(moment)
        self._normalize_prototypes()
        if self.queues is not None:
            for rows in self._to_enter:
                self.queues.enter(collectives.all_gather(rows).transpose(0, 1))
        self._to_enter.clear()

    @torch.no_grad()
    def _normalize_prototypes(self) -> None:
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))

    def trivial_losses(self, samples: int) -> dict[str, float]:
        """Return the loss when all prototypes suit every sample equally."""
        return {"every sample is assigned uniformly": math.log(self.options.prototypes)}


def swapped_prediction(scores: Sequence[Tensor], codes: Sequence[Tensor], *, temperature: float) -> LossSum:
    """Compute the cross-entropy of predicting each assigned view's code from every other view.

    Args:
        scores: V tensors (B, K) float, cosines of each view's rows with the prototypes.
        codes: (B, K) each, assignments of the first views' rows, without gradient; row i is of the same sample.
        temperature: Divides the scores; above 0; paper: 0.1.

    Returns:
        Sum over samples of the mean over (assigned view, other view), in nats, and the number of samples. The mean is
        log(K) when codes and scores are uniform.

    Raises:
        ValueError: When the views differ in shape, or there is no other view.

    Source: Caron et al. 2020, "SwAV", arXiv:2006.09882, Eq. 1, 2 and 6. Differences: the mean over pairs of views, as
        in its published code.
    """
    if len(scores) < 2 or any(rows.ndim != 2 or rows.shape != scores[0].shape for rows in (*scores, *codes)):
        raise ValueError(
            "wanted scores of at least two views, and codes, (B, K) of one shape; "
            f"got {[tuple(rows.shape) for rows in scores]} and {[tuple(rows.shape) for rows in codes]}"
        )
    log_predictions = [F.log_softmax(rows / temperature, dim=1) for rows in scores]
    total = scores[0].new_zeros(())
    for assigned, code in enumerate(codes):
        for other, log_prediction in enumerate(log_predictions):
            if other != assigned:
                total = total - (code * log_prediction).sum()
    return LossSum(total / (len(codes) * (len(scores) - 1)), total.new_tensor(len(scores[0])))


@torch.no_grad()
def prototype_entropy(scores: Tensor) -> Tensor:
    """Return the entropy of how all workers' rows are distributed over their nearest prototypes.

    Not of the codes' mean: they are shared out equally whatever the rows are.

    Args:
        scores: (B, K) float, cosines with the prototypes.

    Returns:
        () in nats: 0 when one prototype is nearest to all rows, log(K) when each is nearest to as many.
    """
    counts = scores.new_zeros(scores.shape[1]).index_add_(0, scores.argmax(dim=1), scores.new_ones(len(scores)))
    counts = collectives.all_reduce_sum(counts)
    shares = counts / counts.sum()
    return -torch.xlogy(shares, shares).sum()
