"""SimCLR: two views of a sample find each other among all other views of the batch."""

from typing import ClassVar

from pydantic import Field

from cl_core.encoders import Encoder
from cl_core.losses import PairLoss
from cl_core.methods import FromPaper, Method, MethodOptions, require_loss
from cl_core.methods._heads import mlp_head
from cl_core.methods._in_batch import InBatch
from cl_core.registry import METHODS


@METHODS.register("simclr")
class SimCLROptions(MethodOptions):
    """Options of SimCLR. Source: Chen et al. 2020, arXiv:2002.05709, Algorithm 1, section 4.2 and App. B.9."""

    paper_loss: ClassVar[FromPaper | None] = FromPaper("info_nce", {"temperature": 0.2})
    view_counts: ClassVar[range] = range(2, 9)

    projector_hidden: int = Field(512, ge=1, le=65_536, title="Projector hidden width")
    """Width of the projector's hidden layer. Units; the paper uses the encoder's own width."""
    projector_features: int = Field(128, ge=2, le=65_536, title="Projector output width")
    """Dimensions in which views are contrasted; the paper uses 128. Units."""

    def build(self, encoder: Encoder, loss: PairLoss | None) -> Method:
        """Build a projector with one hidden layer, as in the paper; it is dropped after training."""
        projector = mlp_head([encoder.features, self.projector_hidden, self.projector_features])
        return InBatch(encoder, projector, require_loss(loss))
