"""SupCon: views of all samples of a class find each other among all other views of the batch."""

from typing import ClassVar

from cl_core.encoders import Encoder
from cl_core.losses import PairLoss
from cl_core.methods import FromPaper, Method, require_loss
from cl_core.methods._heads import ProjectorOptions
from cl_core.methods._in_batch import InBatch
from cl_core.registry import METHODS


@METHODS.register("supcon")
class SupConOptions(ProjectorOptions):
    """Options of SupCon: SimCLR with classes in place of samples. A sample without a label is its own class.

    Source: Khosla et al. 2020, "Supervised contrastive learning", arXiv:2004.11362, Sec. 3 and Fig. 2. Differences:
    the default width of the projector's hidden layer suits small encoders, and the projector has a batch norm.
    """

    paper_loss: ClassVar[FromPaper | None] = FromPaper("supcon", {"temperature": 0.1})
    # The softmax losses of several positives. Debiasing corrects for classes that are unknown; here they are known.
    accepted_losses: ClassVar[frozenset[str]] = frozenset({"supcon", "info_nce", "decoupled"})
    view_counts: ClassVar[range] = range(2, 9)
    needs_labels: ClassVar[bool] = True

    def build(self, encoder: Encoder, loss: PairLoss | None) -> Method:
        """Build the same network as SimCLR, with all rows of a class as positives."""
        return InBatch(encoder, self.projector(encoder), require_loss(loss), by_label=True)
