"""What is measured, and when a challenger becomes the champion."""

from typing import Annotated

from pydantic import Field

from cl_core.registry import EVALUATIONS, NameIn
from cl_core.specs.base import Options, Spec


class EvaluationSpec(Spec):
    """What is measured on the frozen encoder."""

    protocols: list[Annotated[str, NameIn(EVALUATIONS)]] = Field(
        ["linear_probe", "knn", "geometry"],
        min_length=1,
        title="Protocols",
        description="What to measure. Those that need labels are left out, and said to be, where there are none.",
    )
    options: dict[str, Options] = Field(
        {}, title="Protocol options", description="Options of each protocol, by its name, as JSON."
    )
    resamples: int = Field(
        1000,
        ge=100,
        le=100_000,
        title="Bootstrap resamples",
        description="Resamples of the test split behind each 95 % interval.",
    )
    seed: int = Field(0, ge=0, lt=2**32, title="Seed", description="Decides the resamples and the validation part.")


class PromotionSpec(Spec):
    """When a challenger becomes the champion that users fetch."""

    automatic: bool = Field(
        True,
        title="Promote automatically",
        description="Off: the gate's verdict is recorded, and a person promotes with `cl promote`.",
    )
    score: str = Field(
        "linear_probe.accuracy",
        title="Deciding score",
        description="Score compared with the champion's; `knn_20.accuracy` is another.",
    )
    tolerance: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Tolerance",
        description="The challenger wins when the 95 % interval of its gain over the champion lies above minus this. "
        "0 asks for a proven gain. Fraction of the test split.",
    )
