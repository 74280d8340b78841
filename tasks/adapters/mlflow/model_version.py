"""A registered version: what it is made of, what MLflow keeps with it, and how it reads back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from cl_core.refs import CheckpointRef, EvaluationReport, Lineage, ModelRef, Ref, Score, SnapshotRef

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from cl_core.export import EmbeddingModel

CHALLENGER = "challenger"
CHAMPION = "champion"

# Tags. The training digest is the version's identity, and its run's.
TRAINING_DIGEST = "counterpoint.training_digest"
SNAPSHOT_DIGEST = "counterpoint.snapshot_digest"
EVALUATION_DIGEST = "counterpoint.evaluation_digest"
SCORES = "counterpoint.scores"
DECISION = "counterpoint.decision"
# What retention has removed of that which the version was made from.
LOST = "counterpoint.lineage"
# Where it comes from; the data's digest is above. On the version, its run and the logged model alike.
CODE_VERSION = "counterpoint.code_version"
SOURCE_DIGEST = "counterpoint.source_digest"
RECIPE = "counterpoint.recipe"
FLOW_RUN_ID = "counterpoint.prefect_flow_run_id"
FLOW_RUN_URL = "counterpoint.prefect_flow_run_url"


_LINEAGE_TAGS = {
    CODE_VERSION: "code_version",
    SOURCE_DIGEST: "source_digest",
    RECIPE: "recipe",
    FLOW_RUN_ID: "flow_run_id",
    FLOW_RUN_URL: "flow_run_url",
}


def lineage_tags(lineage: Lineage) -> dict[str, str]:
    """Return a lineage as tags; what is unknown has none."""
    known = {tag: getattr(lineage, name) for tag, name in _LINEAGE_TAGS.items()}
    return {tag: value for tag, value in known.items() if value}


def lineage_from_tags(tags: Mapping[str, str]) -> Lineage:
    """Return the lineage that tags record."""
    return Lineage(**{name: tags.get(tag, "") for tag, name in _LINEAGE_TAGS.items()})


# A file of the run.
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Registration:
    """All that a version is made of.

    Args:
        name: Of the registered model.
        model: The trained encoder with its preprocessing.
        snapshot: What it was trained on.
        checkpoint: The finished training; its digest is the version's identity.
        evaluation: Scores beside the baselines.
        specs: What was asked for, by group: `data`, `training`, `evaluation`, ...
        curves: One mapping per reported training step, with `step` and any metrics.
        lineage: Where it comes from.
    """

    name: str
    model: "EmbeddingModel"
    snapshot: SnapshotRef
    checkpoint: CheckpointRef
    evaluation: EvaluationReport
    specs: Mapping[str, BaseModel]
    curves: Sequence[Mapping[str, float]]
    lineage: Lineage

    @property
    def tags(self) -> dict[str, str]:
        """What the version carries, written in the transaction that creates it."""
        scores = {name: score.model_dump() for name, score in self.evaluation.trained.scores.items()}
        return {
            TRAINING_DIGEST: self.checkpoint.digest,
            SNAPSHOT_DIGEST: self.snapshot.digest,
            SCORES: json.dumps(scores),
            EVALUATION_DIGEST: self.evaluation.digest,
            **lineage_tags(self.lineage),
        }

    @property
    def origin(self) -> dict[str, str]:
        """What its run and its logged model carry: which training, on which data, by which code and run."""
        return {
            TRAINING_DIGEST: self.checkpoint.digest,
            SNAPSHOT_DIGEST: self.snapshot.digest,
            **lineage_tags(self.lineage),
        }


class VersionRow(Ref):
    """A registered version, as lists show it."""

    name: str
    version: int
    aliases: list[str]
    scores: dict[str, Score]
    created: datetime
    reason: str = Field(description="The last decision about it; empty before the first.")
    run_id: str
    training_digest: str


def model_ref(version: "ModelVersion", *, created: bool = False) -> ModelRef:
    """The ref of a version as MLflow has it."""
    return ModelRef(
        name=version.name,
        version=int(version.version),
        uri=f"models:/{version.name}/{version.version}",
        run_id=version.run_id or "",
        training_digest=version.tags.get(TRAINING_DIGEST, ""),
        created=created,
    )


def version_row(version: "ModelVersion", aliases: Mapping[str, str]) -> VersionRow:
    """The row of a version as MLflow has it, with the aliases of its model (alias to version)."""
    return VersionRow(
        name=version.name,
        version=int(version.version),
        aliases=sorted(alias for alias, holder in aliases.items() if int(holder) == int(version.version)),
        scores={name: Score(**score) for name, score in json.loads(version.tags.get(SCORES, "{}")).items()},
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        reason=version.tags.get(DECISION, ""),
        run_id=version.run_id or "",
        training_digest=version.tags.get(TRAINING_DIGEST, ""),
    )
