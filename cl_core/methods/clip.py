"""CLIP: two kinds of samples that belong together, such as an image and its caption, find each other in a batch."""

from typing import ClassVar

import torch
from torch import Tensor

from cl_core.encoders import Encoder
from cl_core.losses import PairLoss, Relation, RowIds, at_least_float32
from cl_core.methods import FromPaper, Method, MethodOptions, Samples, Step, require_loss
from cl_core.methods._contrast import Contrast, row_ids
from cl_core.registry import METHODS


@METHODS.register("clip")
class ClipOptions(MethodOptions):
    """Options of CLIP, which has none: the towers are the encoder's, the learned scale is the loss's.

    With the loss `pairwise_logistic` it is SigLIP. Samples with equal images, or with equal texts, are positives of
    each other, never negatives.

    Source: Radford et al. 2021, "Learning transferable visual models from natural language supervision",
    arXiv:2103.00020, Fig. 3. Differences: none.
    """

    paper_loss: ClassVar[FromPaper | None] = FromPaper("clip")
    paper_views: ClassVar[FromPaper] = FromPaper("side_by_side")
    takes_towers: ClassVar[bool] = True

    def build(self, encoder: Encoder, loss: PairLoss | None) -> Method:
        """Build the method around an encoder with a tower for each view, or with one for both."""
        return _Clip(encoder, require_loss(loss))


class _Clip(Method):
    """Towers f and g, and a pair loss of f(first view) against g(second view), both ways.

    Args:
        encoder: Has f and g.
        loss: Compares each row with all rows of the other view.
    """

    def __init__(self, encoder: Encoder, loss: PairLoss) -> None:
        super().__init__()
        self.encoder = encoder
        self.compare = Contrast(loss)

    def embed(self, views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Pass each view through its own tower."""
        return tuple(at_least_float32(self.encoder.tower(number)(view)) for number, view in enumerate(views))

    def contrast(self, embedded: tuple[Tensor, ...], samples: Samples) -> Step:
        """Compare this worker's rows of each view with all workers' rows of the other."""
        first, second = embedded
        ids = row_ids(samples, views=2)
        of_first, of_second = _halves(ids)
        loss = (self.compare(first, of_first, second, of_second) + self.compare(second, of_second, first, of_first)) / 2
        metrics = {name: value.detach() for name, value in self.compare.learned.items()}
        return Step(loss, torch.cat(embedded).detach(), ids.groups, metrics)

    def trivial_losses(self, samples: int) -> dict[str, float]:
        """Return the loss when all embeddings are equal."""
        ids = row_ids(Samples(torch.arange(samples)), views=2)
        return {"every embedding is the same": self.compare.collapsed_loss(Relation(*_halves(ids)))}


def _halves(ids: RowIds) -> tuple[RowIds, RowIds]:
    """Return the ids of the rows of each of two views."""
    samples, views, groups = (each.chunk(2) for each in (ids.samples, ids.views, ids.groups))
    return RowIds(samples[0], views[0], groups[0]), RowIds(samples[1], views[1], groups[1])
