"""What turns beads and necklaces into numbers: apart, since inspecting them needs no torch."""

import torch

from cl_core.modalities import ArraySpec
from cl_core.modalities._processor import Processor


class BeadProcessor(Processor):
    """The code of each bead, and the share of the training split's beads that it is; -1 where there is none."""

    def __init__(self, weights) -> None:
        super().__init__((ArraySpec("uint8", (12,)),))
        self.register_buffer("weights", torch.tensor(weights))

    weights: torch.Tensor

    @property
    def view_shape(self) -> tuple[int, ...]:
        return (24,)

    def values(self, rows):
        (beads,) = rows
        return torch.cat([(beads.float() - 108) / 6 * (beads > 0), self.weights[beads.long()]], dim=-1)

    def view(self, values):
        return values

    def restored(self, views):
        codes = (views[:, :12] * 6 + 108).round().clamp(0, 127)
        return (torch.where(views[:, 12:] < -0.5, 0, codes).byte(),)


class NecklaceProcessor(Processor):
    """The standardized measures of the clasp beside what `BeadProcessor` makes of the beads."""

    def __init__(self, mean, std, weights) -> None:
        super().__init__((ArraySpec("float32", mean.shape), ArraySpec("uint8", (12,))))
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        self.beads = BeadProcessor(weights)

    mean: torch.Tensor
    std: torch.Tensor

    @property
    def view_shape(self) -> tuple[int, ...]:
        return (len(self.mean) + 24,)

    def values(self, rows):
        clasps, beads = rows
        return torch.cat([(clasps - self.mean) / self.std, self.beads.values((beads,))], dim=-1)

    def view(self, values):
        return values

    def restored(self, views):
        width = len(self.mean)
        return views[:, :width] * self.std + self.mean, *self.beads.restored(views[:, width:])
