"""A pair loss across workers: this worker's anchors against all workers' candidates."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from cl_core.losses import PairLoss, Relation, RowIds, at_least_float32
from cl_core.methods import Held, Samples
from cl_core.parallel import collectives


class Contrast(Held):
    """A pair loss with its learned parameters, and the one place where a method's rows are gathered.

    Args:
        loss: The pair loss.
    """

    def __init__(self, loss: PairLoss) -> None:
        super().__init__()
        self.loss = loss
        self.learned = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(start)) for name, start in loss.learned_start().items()}
        )

    def forward(self, anchors: Tensor, anchor_ids: RowIds, candidates: Tensor, candidate_ids: RowIds) -> Tensor:
        """Return () the mean over all workers' anchors, scaled such that averaging over workers gives it.

        Args:
            anchors: (A, D) this worker's anchors.
            anchor_ids: Who they are.
            candidates: (K, D) this worker's candidates, which everyone's anchors are compared with.
            candidate_ids: Who they are.
        """
        everyone = gathered(candidate_ids)
        relation = Relation(anchor_ids, everyone)
        return self.against(anchors, collectives.all_gather(at_least_float32(candidates)), relation)

    def against(self, anchors: Tensor, candidates: Tensor, relation: Relation) -> Tensor:
        """Compare with candidates that every worker has already, such as gathered keys and a queue."""
        total = self.loss(anchors, candidates, relation, dict(self.learned))
        return collectives.global_mean(total.total, total.count)

    @torch.no_grad()
    def hold(self) -> None:
        """Hold what the loss learns between its bounds, in place: within the loss its gradient would be lost there."""
        for name, (low, high) in self.loss.learned_bounds().items():
            self.learned[name].clamp_(low, high)

    def collapsed_loss(self, relation: Relation) -> float:
        """Return the loss when all embeddings are equal, at which a collapsed training stays.

        Args:
            relation: In which all anchors have as many positives and negatives: that of the first one is returned, so
                that a large batch is not compared with itself.
        """
        everyone = relation.anchors
        first = RowIds(everyone.samples[:1], everyone.views[:1], everyone.groups[:1])
        row, columns = torch.ones(1, 2), torch.ones(len(relation.candidates.samples), 2)
        with torch.no_grad():
            learned = {name: value.cpu() for name, value in self.learned.items()}
            return float(self.loss(row, columns, replace(relation, anchors=first), learned).mean)


def gathered(ids: RowIds) -> RowIds:
    """Return all workers' ids in the order of `collectives.all_gather`; with one worker, the same object."""
    if collectives.world_size() == 1:
        return ids
    together = collectives.all_gather(torch.stack([ids.samples, ids.views, ids.groups], dim=1))
    return RowIds(*together.unbind(1))


def row_ids(samples: Samples, *, views: int, by_label: bool = False) -> RowIds:
    """Return the ids of rows ordered by view: all of view 0, then all of view 1, ...

    Args:
        samples: Of one view's rows.
        views: How many views there are.
        by_label: Rows of one class are positives of each other; otherwise rows of one sample are, or of samples with
            one identity. A sample without a label is alone with these.
    """
    ids = samples.ids.repeat(views)
    view = torch.arange(views, device=ids.device).repeat_interleave(len(samples.ids))
    groups = samples.groups.repeat(views)
    if by_label:
        assert samples.labels is not None, "a method that needs labels is refused data without them"
        # Labels are small and ids are hashes of 64 bits: what must not meet is kept apart by the sign.
        alone = -1 - (samples.groups & torch.iinfo(torch.int64).max)
        groups = torch.where(samples.labels >= 0, samples.labels, alone).repeat(views)
    return RowIds(samples=ids, views=view, groups=groups)
