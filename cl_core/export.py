"""Export the encoder and its preprocessing as a self-contained torch.export program."""

import copy
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional

from cl_core.views import Normalization


class EmbeddingModel(nn.Module):
    """Turn raw images into unit embeddings.

    Holds a copy of the encoder, on the CPU and in float32: an exported program cannot be moved to another device, and
    every consumer has a CPU. Always in eval mode, so that an image's embedding does not depend on its neighbors.

    Args:
        encoder: Maps (N, C, size, size) float32 to (N, F) float32.
        normalization: What the encoder expects; as many channels C as it has means.
        size: Side of the images, in pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, normalization: Normalization, size: int) -> None:
        super().__init__()
        self.size = size
        self.channels = len(normalization.mean)
        self.encoder = copy.deepcopy(encoder).to("cpu", torch.float32)
        self.register_buffer("mean", torch.tensor(normalization.mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(normalization.std).reshape(1, -1, 1, 1))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever `mode` is."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Embed (N, H, W, C) uint8 as (N, F) float32 of unit length; a row of zeros where all features are zero."""
        views = images.permute(0, 3, 1, 2).to(torch.float32) / 255
        features = self.encoder((views - self.mean) / self.std)
        return functional.normalize(features, dim=1)

    def example(self, rows: int = 2) -> Tensor:
        """Return (rows, size, size, C) uint8 noise images, always the same, to trace the model with."""
        generator = torch.Generator().manual_seed(0)
        shape = (rows, self.size, self.size, self.channels)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def export_program(model: EmbeddingModel) -> ExportedProgram:
    """Export the model as a graph that takes one image or more.

    Raises:
        torch._dynamo.exc.UserError: When the encoder's code depends on the batch size, so that it cannot be dynamic.
    """
    program = torch.export.export(model, (model.example(),), dynamic_shapes=({0: Dim.DYNAMIC},))
    for node in program.graph.nodes:
        # Stack traces contain paths of the training machine, which do not belong in a published model.
        node.meta.pop("stack_trace", None)
    return program


def save_weights(model: EmbeddingModel, path: Path) -> None:
    """Write weights, running statistics and normalization as safetensors, named as in `model.state_dict()`."""
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
