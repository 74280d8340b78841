"""When a challenger becomes the champion that users fetch."""

from pydantic import Field

from cl_core.specs.base import Spec


class PromotionSpec(Spec):
    """When a challenger becomes the champion that users fetch."""

    automatic: bool = Field(True, title="Promote automatically")
    """Off: the gate's decision is recorded, and a person promotes with `cl promote`."""
    score: str = Field("linear_probe.accuracy", title="Deciding score")
    """Score that is compared with the champion's, such as `knn_20.accuracy`."""
    tolerance: float = Field(0.0, ge=0, le=1)
    """The challenger wins if the 95 % interval of its gain over the champion lies above minus this. 0 requires a proven
    gain. Fraction of the test split."""
