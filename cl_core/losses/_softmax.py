"""Options that all losses with a softmax over pairs share."""

from pydantic import Field

from cl_core.losses import PairLoss


class TiledLoss(PairLoss):
    """A loss that processes its pairs in tiles."""

    tile: int = Field(512, ge=0, le=65_536)
    """Pairs are processed in square tiles of this many rows, so that memory grows linearly with the batch; the result
    is the same. 512 fits a CPU's cache; a GPU is faster with 4096, or with 0, which processes all pairs at once.
    Rows."""


class SoftmaxLoss(TiledLoss):
    """A loss that compares each anchor's positives with its negatives in a softmax over cosines."""

    temperature: float = Field(0.2, gt=0, le=100)
    """Divides the cosine similarities. Dimensionless; 0.1 to 0.5 in SimCLR's table 5."""
