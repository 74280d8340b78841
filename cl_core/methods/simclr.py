"""SimCLR: two views of a sample find each other among all other views of the batch."""

from typing import ClassVar

from cl_core.encoders import Encoder
from cl_core.losses import PairLoss
from cl_core.methods import FromPaper, Method, require_loss
from cl_core.methods._heads import ProjectorOptions
from cl_core.methods._in_batch import InBatch
from cl_core.registry import METHODS


@METHODS.register("simclr")
class SimCLROptions(ProjectorOptions):
    """Options of SimCLR. Source: Chen et al. 2020, arXiv:2002.05709, Algorithm 1, section 4.2 and App. B.9."""

    paper_loss: ClassVar[FromPaper | None] = FromPaper("info_nce", {"temperature": 0.2})
    view_counts: ClassVar[range] = range(2, 9)

    def build(self, encoder: Encoder, loss: PairLoss | None) -> Method:
        """Build a projector with one hidden layer, as in the paper; it is dropped after training."""
        return InBatch(encoder, self.projector(encoder), require_loss(loss))
