"""What is measured on an encoder."""

from typing import Annotated

from pydantic import Field

from cl_core.registry import EVALUATIONS, NameIn
from cl_core.specs.base import Options, Spec


class EvaluationSpec(Spec):
    """What is measured on the frozen encoder."""

    protocols: list[Annotated[str, NameIn(EVALUATIONS)]] = Field(["linear_probe", "knn", "geometry"], min_length=1)
    """Protocols to run. Those that need labels are skipped, with a message, if there are none."""
    options: dict[str, Options] = Field({}, title="Protocol options")
    """Options of each protocol, by its name, as JSON."""
    resamples: int = Field(1000, ge=100, le=100_000, title="Bootstrap resamples")
    """Resamples of the test split behind each 95 % interval."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the resamples and of the validation part."""
