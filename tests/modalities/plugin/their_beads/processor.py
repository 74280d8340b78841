"""What turns beads into numbers: apart, since inspecting them needs no torch."""

import torch

from cl_core.modalities import ArraySpec
from cl_core.modalities._processor import Processor


class BeadProcessor(Processor):
    """The code of each bead, and the share of the training split's beads that it is; -1 where there is none."""

    def __init__(self, weights) -> None:
        super().__init__(ArraySpec("uint8", (12,)))
        self.register_buffer("weights", torch.tensor(weights))

    weights: torch.Tensor

    @property
    def view_shape(self) -> tuple[int, ...]:
        return (24,)

    def values(self, rows):
        return torch.cat([(rows.float() - 108) / 6 * (rows > 0), self.weights[rows.long()]], dim=-1)

    def view(self, values):
        return values

    def restored(self, views):
        codes = (views[:, :12] * 6 + 108).round().clamp(0, 127)
        return torch.where(views[:, 12:] < -0.5, 0, codes).byte()
