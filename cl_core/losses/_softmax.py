"""Options that all losses with a softmax over cosine similarities share."""

from pydantic import Field

from cl_core.losses import PairLoss


class SoftmaxLoss(PairLoss):
    """A loss that compares each anchor's positives with its negatives in a softmax."""

    temperature: float = Field(
        0.2,
        gt=0,
        le=100,
        title="Temperature",
        description="Divides the cosine similarities. Dimensionless; 0.1 to 0.5 in SimCLR's table 5.",
    )
    tile: int = Field(
        0,
        ge=0,
        le=65_536,
        title="Tile",
        description="Pairs are looked at in squares of this many rows, so that memory grows with the batch and not "
        "with its square: for batches of many thousands. 0 looks at all at once. Rows.",
    )
