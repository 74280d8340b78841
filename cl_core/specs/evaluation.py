"""What is measured on an encoder, and when that makes it the champion."""

from typing import Annotated

from pydantic import Field

from cl_core.registry import EVALUATIONS, Described, NameIn, Options


class EvaluationSpec(Described):
    """What is measured on the frozen encoder."""

    protocols: list[Annotated[str, NameIn(EVALUATIONS)]] = Field(["linear_probe", "knn", "geometry"], min_length=1)
    """Protocols to run. Those that need labels are skipped, with a message, if there are none."""
    options: dict[str, Options] = Field({}, title="Protocol options")
    """Options of each protocol, by its name, as JSON."""
    resamples: int = Field(1000, ge=100, le=100_000, title="Bootstrap resamples")
    """Resamples of the test split behind each 95 % interval."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the resamples and of the validation part."""


class PromotionSpec(Described):
    """When a challenger becomes the champion that users fetch."""

    automatic: bool = Field(True, title="Promote automatically")
    """Off: the gate's decision is recorded, and a person promotes with `cl promote`."""
    score: str = Field("linear_probe.accuracy", title="Deciding score")
    """Score that is compared with the champion's, such as `knn_20.accuracy`; `view_retrieval.recall_at_1` needs no
    labels."""
    tolerance: float = Field(0.0, ge=0, le=1)
    """The challenger wins if the 95 % interval of its gain over the champion lies above minus this. 0 requires a proven
    gain. Fraction of the test split."""
