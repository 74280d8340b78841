"""One queue of earlier rows per view, identical on every worker."""

import torch
from torch import Tensor, nn

from cl_core.parallel import collectives


class ViewQueues(nn.Module):
    """The most recent rows of each view, over all workers; the oldest leave first.

    Args:
        views: V, how many queues, which are filled together.
        size: Rows that each holds.
        features: D, width of a row.
    """

    rows: Tensor
    entered: Tensor

    def __init__(self, *, views: int, size: int, features: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(views, size, features))
        # Total so far, per view: gives the next position, and whether all are filled.
        self.register_buffer("entered", torch.zeros((), dtype=torch.int64))

    def enter(self, rows: Tensor) -> None:
        """Replace the oldest rows by (V, N, D) rows of all workers; if more come than fit, keep the last ones."""
        size = self.rows.shape[1]
        kept = rows[:, -size:]
        self.entered += rows.shape[1]
        places = (self.entered - kept.shape[1] + torch.arange(kept.shape[1], device=rows.device)) % size
        self.rows[:, places] = kept.to(self.rows.dtype)

    def own_share(self, view: int) -> Tensor:
        """Return (Q, D) this worker's share of the queued rows of a view; none until the queue is full."""
        full = int(self.entered) >= self.rows.shape[1]
        return self.rows[view, collectives.rank() :: collectives.world_size()] if full else self.rows[view, :0]
