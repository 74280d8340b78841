"""SimCLR: two views of a sample find each other among all other views of the batch."""

import torch
from pydantic import Field
from torch import nn

from cl_core import distributed
from cl_core.encoders import Encoder
from cl_core.losses import PairLoss, Relation, RowIds, at_least_float32
from cl_core.methods import Batch, Method, MethodOptions, Step
from cl_core.registry import METHODS


class SimCLR(Method):
    """Encoder f, projector g, and a pair loss over g(f(view)) of the whole batch.

    Source: Chen et al. 2020, arXiv:2002.05709, Algorithm 1.
    """

    def __init__(self, encoder: Encoder, projector: nn.Module, loss: PairLoss) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.loss = loss

    def forward(self, batch: Batch) -> Step:
        """Embed all views at once, gather everyone's, and score this worker's anchors against all of them."""
        views = torch.cat(batch.views)
        embeddings = at_least_float32(self.projector(self.encoder(views)))
        own = row_ids(batch)
        everyone = RowIds(
            samples=distributed.all_gather(own.samples),
            views=distributed.all_gather(own.views),
            groups=distributed.all_gather(own.groups),
        )
        loss = self.loss(embeddings, distributed.all_gather(embeddings), Relation(own, everyone))
        return Step(distributed.global_mean(loss.total, loss.count), embeddings.detach())


@METHODS.register("simclr")
class SimCLROptions(MethodOptions):
    """Options of SimCLR. Source: Chen et al. 2020, arXiv:2002.05709, section 4.2 and App. B.9."""

    projector_hidden: int = Field(
        512,
        ge=1,
        le=65_536,
        title="Projector hidden width",
        description="Width of the projector's hidden layer. Units; the paper uses the encoder's own width.",
    )
    projector_features: int = Field(
        128,
        ge=2,
        le=65_536,
        title="Projector output width",
        description="Dimensions in which views are contrasted; the paper uses 128. Units.",
    )

    def build(self, encoder: Encoder, loss: PairLoss) -> Method:
        """A projector with one hidden layer, as in the paper; it is dropped after training."""
        projector = nn.Sequential(
            nn.Linear(encoder.features, self.projector_hidden, bias=False),
            nn.BatchNorm1d(self.projector_hidden),
            nn.ReLU(inplace=True),
            nn.Linear(self.projector_hidden, self.projector_features),
        )
        return SimCLR(encoder, projector, loss)


def row_ids(batch: Batch) -> RowIds:
    """Ids of the rows of a batch's concatenated views; views of one sample are positives of each other."""
    count, device = len(batch.views), batch.sample_ids.device
    samples = batch.sample_ids.repeat(count)
    views = torch.arange(count, device=device).repeat_interleave(len(batch.sample_ids))
    return RowIds(samples=samples, views=views, groups=samples)
