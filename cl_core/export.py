"""Export the encoder and its preprocessing as a self-contained torch.export program."""

import copy
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional

from cl_core.columns import Batch
from cl_core.encoders import Encoder
from cl_core.modalities._processor import Processor


class EmbeddingModel(nn.Module):
    """Turn stored rows, such as images, into unit embeddings.

    Holds a copy of the encoder, on the CPU and in float32: an exported program cannot be moved to another device, and
    every consumer has a CPU. Always in eval mode, so that a sample's embedding does not depend on its neighbors.

    Args:
        processor: Turns the rows into what the encoder takes.
        encoder: Gives (N, F) float32.
    """

    def __init__(self, processor: Processor, encoder: nn.Module) -> None:
        super().__init__()
        self.processor = processor
        self.encoder = copy.deepcopy(encoder).to("cpu", torch.float32)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever `mode` is."""
        return super().train(False)

    def forward(self, *rows: Tensor) -> Tensor:
        """Embed N rows of each column as (N, F) float32 of unit length; a row of zeros where all features are zero."""
        return functional.normalize(self.encoder(self.processor(rows)), dim=1)

    def of_side(self, side: int) -> "EmbeddingModel":
        """Return the model of one side of pairs, whose encoder has a tower for each."""
        assert isinstance(self.encoder, Encoder), "asked of an encoder with towers"
        return EmbeddingModel(self.processor.side(side), self.encoder.tower(side))

    def example(self, rows: int = 2) -> Batch:
        """Return rows of noise, always the same, to trace the model with."""
        return self.processor.example(rows)


def export_program(model: EmbeddingModel) -> ExportedProgram:
    """Export the model as a graph that takes one row or more.

    Raises:
        torch._dynamo.exc.UserError: When the encoder's code depends on the batch size, so that it cannot be dynamic.
    """
    example = model.example()
    program = torch.export.export(model, example, dynamic_shapes=(({0: Dim.DYNAMIC},) * len(example),))
    for node in program.graph.nodes:
        # Stack traces contain paths of the training machine, which do not belong in a published model.
        node.meta.pop("stack_trace", None)
    return program


def save_weights(model: EmbeddingModel, path: Path) -> None:
    """Write weights, running statistics and the processor's buffers as safetensors, named as in `state_dict()`."""
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
