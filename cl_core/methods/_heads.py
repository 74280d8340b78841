"""Projectors and predictors: the multilayer perceptrons between an encoder and a loss; methods with one network."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from cl_core.encoders import Encoder
from cl_core.losses import at_least_float32
from cl_core.methods import Method, MethodOptions


def mlp_head(
    widths: Sequence[int], *, last_bias: bool = True, last_norm: bool = False, last_affine: bool = True
) -> nn.Sequential:
    """Build linear layers with batch norm and ReLU between them.

    Args:
        widths: Of the input, of each hidden layer, and of the output; two widths are one linear layer.
        last_bias: Whether the last linear layer has a bias; none before a batch norm, which takes it away again.
        last_norm: End with a batch norm.
        last_affine: Whether that last batch norm has a scale and a shift of its own.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise(widths[:-1]):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
    layers.append(nn.Linear(widths[-2], widths[-1], bias=last_bias and not last_norm))
    if last_norm:
        layers.append(nn.BatchNorm1d(widths[-1], affine=last_affine))
    return nn.Sequential(*layers)


class ProjectorOptions(MethodOptions):
    """Widths of the projector of SimCLR and its successors, which has one hidden layer."""

    projector_hidden: int = Field(512, ge=0, le=65_536, title="Projector hidden width")
    """Width of the projector's hidden layer. 0 is no projector: then the encoder's own features are contrasted, as is
    usual for pairs of texts. Units; SimCLR uses the encoder's own width, SupCon 2048."""
    projector_features: int = Field(128, ge=2, le=65_536, title="Projector output width")
    """Dimensions in which views are contrasted; SimCLR and SupCon use 128. Units."""

    def projector(self, encoder: Encoder) -> nn.Module:
        """Build linear, batch norm, ReLU, linear; dropped after training."""
        if not self.projector_hidden:
            return nn.Identity()
        return mlp_head([encoder.features, self.projector_hidden, self.contrasted_features(encoder)])

    def contrasted_features(self, encoder: Encoder) -> int:
        """Return the dimensions in which views are contrasted."""
        return self.projector_features if self.projector_hidden else encoder.features


class Projected(Method):
    """A method whose one network embeds every view: encoder f and projector g, which is dropped after training."""

    def __init__(self, encoder: Encoder, projector: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector

    def embed(self, views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Pass all views together through encoder and projector, and split them again."""
        rows = at_least_float32(self.projector(self.encoder(torch.cat(views))))
        return rows.chunk(len(views))
