"""Methods that contrast the rows of a batch with each other: the same network embeds every view."""

import torch
from torch import Tensor, nn

from cl_core.encoders import Encoder
from cl_core.losses import PairLoss, relation_within
from cl_core.methods import Samples, Step
from cl_core.methods._contrast import Contrast, row_ids
from cl_core.methods._heads import Projected


class InBatch(Projected):
    """Encoder f, projector g, and a pair loss over g(f(view)) of the whole batch.

    Args:
        encoder: f.
        projector: g; dropped after training.
        loss: Compares each row with all others.
        by_label: Rows of one class are positives of each other; otherwise views of one sample are.
        samples_per_class: Of every class of a batch; 0 if it differs.
    """

    def __init__(
        self,
        encoder: Encoder,
        projector: nn.Module,
        loss: PairLoss,
        *,
        by_label: bool = False,
        samples_per_class: int = 0,
    ) -> None:
        super().__init__(encoder, projector)
        self.compare = Contrast(loss)
        self.by_label = by_label
        self.samples_per_class = samples_per_class

    def contrast(self, embedded: tuple[Tensor, ...], samples: Samples) -> Step:
        """Compare this worker's rows with all workers' rows."""
        rows = torch.cat(embedded)
        ids = row_ids(samples, views=len(embedded), by_label=self.by_label)
        return Step(self.compare(rows, ids, rows, ids), rows.detach(), ids.groups)

    def trivial_losses(self, samples: int) -> dict[str, float]:
        """Return the loss when all embeddings are equal, for two views of each sample or one of K samples per class."""
        if self.samples_per_class:
            relation = relation_within(torch.arange(samples) // self.samples_per_class)
        elif self.by_label:
            return {}
        else:
            relation = relation_within(torch.arange(samples).repeat(2), views=2)
        return {"every embedding is the same": self.compare.collapsed_loss(relation)}
