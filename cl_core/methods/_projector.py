"""The projector of SimCLR and its successors between encoder and loss, and its options."""

from pydantic import Field
from torch import nn

from cl_core.encoders import Encoder
from cl_core.methods import MethodOptions
from cl_core.methods._heads import mlp_head


class ProjectorOptions(MethodOptions):
    """Widths of a projector with one hidden layer."""

    projector_hidden: int = Field(512, ge=1, le=65_536, title="Projector hidden width")
    """Width of the projector's hidden layer. Units; SimCLR uses the encoder's own width, SupCon 2048."""
    projector_features: int = Field(128, ge=2, le=65_536, title="Projector output width")
    """Dimensions in which views are contrasted; SimCLR and SupCon use 128. Units."""

    def projector(self, encoder: Encoder) -> nn.Module:
        """Build linear, batch norm, ReLU, linear; dropped after training."""
        return mlp_head([encoder.features, self.projector_hidden, self.projector_features])
