"""Queues of rows from earlier batches of all workers, identical on every worker; the oldest rows leave first."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_core.parallel import collectives

# Belongs to no sample: ids are leading bits of hashes, of which one in 2**64 would be this.
_NO_SAMPLE = torch.iinfo(torch.int64).min


class KeyQueue(nn.Module):
    """The most recent keys, each with the identity of its sample.

    It starts with random unit rows of no sample, drawn from torch's global generator.

    Args:
        size: K, keys that it holds.
        features: D, width of a key.

    Source: He et al. 2019, "Momentum contrast", arXiv:1911.05722, Sec. 3.2, and its published code. Differences: any
        number of keys may enter at once, and K need not be a multiple of it.
    """

    keys: Tensor
    samples: Tensor
    entered: Tensor

    def __init__(self, *, size: int, features: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, features), dim=1))
        self.register_buffer("samples", torch.full((size,), _NO_SAMPLE))
        # Total so far: gives the next position, and how many positions are filled.
        self.register_buffer("entered", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enter(self, keys: Tensor, samples: Tensor) -> None:
        """Replace the oldest keys by (N, D) keys of (N,) identities; if more come than fit, keep the last ones."""
        size = len(self.keys)
        self.entered += len(keys)
        keys, samples = keys[-size:], samples[-size:]
        places = _next_places(self.entered, len(keys), size)
        self.keys[places] = keys.to(self.keys.dtype)
        self.samples[places] = samples


class ViewQueues(nn.Module):
    """The most recent rows of each view.

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
        newest = rows[:, -size:]
        self.entered += rows.shape[1]
        self.rows[:, _next_places(self.entered, newest.shape[1], size)] = newest.to(self.rows.dtype)

    def own_share(self, view: int) -> Tensor:
        """Return (Q, D) this worker's share of the queued rows of a view; none until the queue is full."""
        full = int(self.entered) >= self.rows.shape[1]
        return self.rows[view, collectives.rank() :: collectives.world_size()] if full else self.rows[view, :0]


def _next_places(entered: Tensor, rows: int, size: int) -> Tensor:
    """Return the places of the last of all rows that have entered."""
    return (entered - rows + torch.arange(rows, device=entered.device)) % size
