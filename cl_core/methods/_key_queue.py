"""The queue of keys from earlier batches, each with the id of its sample."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Belongs to no sample: ids are leading bits of hashes, of which one in 2**64 would be this.
_NO_SAMPLE = torch.iinfo(torch.int64).min


class KeyQueue(nn.Module):
    """The most recent keys of all workers, identical on every worker; the oldest leave first.

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
        """Replace the oldest keys by (N, D) keys of (N,) samples; if more come than fit, keep the last ones."""
        size = len(self.keys)
        self.entered += len(keys)
        keys, samples = keys[-size:], samples[-size:]
        places = (self.entered - len(keys) + torch.arange(len(keys), device=keys.device)) % size
        self.keys[places] = keys.to(self.keys.dtype)
        self.samples[places] = samples
