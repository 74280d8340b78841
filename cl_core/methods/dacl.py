"""DACL: SimCLR on samples mixed with other samples, which needs no knowledge of the kind of data."""

from typing import ClassVar

from cl_core.encoders import Encoder
from cl_core.losses import PairLoss
from cl_core.methods import FromPaper, Method, require_loss
from cl_core.methods._heads import ProjectorOptions
from cl_core.methods._in_batch import InBatch
from cl_core.registry import METHODS


@METHODS.register("dacl")
class DACLOptions(ProjectorOptions):
    """Options of DACL: two mixtures dominated by the same sample find each other.

    Source: Verma et al. 2021, "Towards domain-agnostic contrastive learning", arXiv:2011.04419, Algorithm 1.
    Differences: temperature and projector are SimCLR's.
    """

    paper_loss: ClassVar[FromPaper | None] = FromPaper("info_nce", {"temperature": 0.2})
    paper_views: ClassVar[FromPaper] = FromPaper("dacl_mixup")

    def build(self, encoder: Encoder, loss: PairLoss | None) -> Method:
        """Build the same network as SimCLR; only the views differ."""
        return InBatch(encoder, self.projector(encoder), require_loss(loss))
