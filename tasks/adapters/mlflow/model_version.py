"""A registered version: what it is made of, and how MLflow stores it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from cl_core.modalities._model_input import ModelInput
from cl_core.refs import IMAGE, CheckpointRef, EvaluationReport, Lineage, ModelRef, Ref, Score, SnapshotRef
from cl_core.registry import MODALITIES

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
# The data that it was trained on, with which a retraining is compared.
DATA_NAME = "counterpoint.data_name"
MODALITY = "counterpoint.modality"
INPUT = "counterpoint.input"
# Of a model with a second program.
SECOND_MODALITY = "counterpoint.second_modality"
SECOND_INPUT = "counterpoint.second_input"
# By what cosines of images and texts are multiplied to be logits.
SCALE = "counterpoint.scale"
# An option of the modality that the shape of the input does not show, by its name.
_OPTION = "counterpoint."
# What was pruned of its inputs.
LOST = "counterpoint.lineage"
# The lineage, beside the data's digest above; on the version, its run and the logged model.
_LINEAGE_TAGS = {
    "counterpoint.code_version": "code_version",
    "counterpoint.source_digest": "source_digest",
    "counterpoint.recipe": "recipe",
    "counterpoint.prefect_flow_run_id": "flow_run_id",
    "counterpoint.prefect_flow_run_url": "flow_run_url",
}


def lineage_from_tags(tags: Mapping[str, str]) -> Lineage:
    """Return the lineage that tags record."""
    return Lineage(**{name: tags.get(tag, "") for tag, name in _LINEAGE_TAGS.items()})


class RegisteredData(Ref):
    """The data that a version was trained on: its name, and what the encoder takes."""

    name: str
    takes: ModelInput

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> "RegisteredData | None":
        """Return the data that a version's tags record; None of a version of 0.1.0, which has no such tags."""
        if DATA_NAME not in tags or INPUT not in tags:
            return None
        modality, hidden = modality_from_tags(tags)
        takes = ModelInput(modality=modality, shapes=_shapes(tags[INPUT]), hidden=hidden, second=second_from_tags(tags))
        return cls(name=tags[DATA_NAME], takes=takes)

    @property
    def tags(self) -> dict[str, str]:
        """Return the tags that record it."""
        tags = {DATA_NAME: self.name, INPUT: _shapes_text(self.takes)}
        if self.takes.second:
            tags |= {SECOND_MODALITY: self.takes.second.modality, SECOND_INPUT: _shapes_text(self.takes.second)}
        named = {} if self.takes.modality == IMAGE else {MODALITY: self.takes.modality}
        return tags | named | {f"{_OPTION}{name}": json.dumps(value) for name, value in self.takes.hidden.items()}


def _shapes_text(takes: ModelInput) -> str:
    return " + ".join(" x ".join(map(str, shape)) for shape in takes.shapes)


def _shapes(text: str) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(map(int, shape.split(" x "))) for shape in text.split(" + "))


def second_from_tags(tags: Mapping[str, str]) -> ModelInput | None:
    """Return what the program for second sides takes; None without one."""
    if SECOND_INPUT not in tags:
        return None
    return ModelInput(modality=tags[SECOND_MODALITY], shapes=_shapes(tags[SECOND_INPUT]))


def recorded_modality(tags: Mapping[str, str]) -> str:
    """Return the name of the modality that a version's tags record, whether it is installed or not."""
    return tags.get(MODALITY, IMAGE)


def modality_from_tags(tags: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Return the modality that a version's tags record, and its options that the shape of an input does not show."""
    name = recorded_modality(tags)
    options = MODALITIES.get(name, field=f"tag {MODALITY}").hidden_options
    values = {option: tags.get(f"{_OPTION}{option}") for option in options}
    return name, {option: json.loads(value) for option, value in values.items() if value}


WEIGHTS = "weights.safetensors"
"""A file of the run."""


@dataclass(frozen=True)
class Registration:
    """All that a version is made of.

    Args:
        name: Of the registered model.
        build_model: Gives the trained encoder with its preprocessing; called only if something is to be uploaded.
        snapshot: What it was trained on.
        takes: What the model takes.
        checkpoint: The finished training; its digest is the version's identity.
        evaluation: Scores beside the baselines.
        specs: The specs, by group: `data`, `training`, `evaluation`, ...
        curves: One mapping per reported training step, with `step` and any metrics.
        lineage: Code, recipe and flow run.
        scale: By what cosines of images and texts are multiplied to be logits; None without texts, or such a scale.
    """

    name: str
    build_model: Callable[[], "EmbeddingModel"]
    snapshot: SnapshotRef
    takes: ModelInput
    checkpoint: CheckpointRef
    evaluation: EvaluationReport
    specs: Mapping[str, BaseModel]
    curves: Sequence[Mapping[str, float]]
    lineage: Lineage
    scale: float | None = None

    @property
    def tags(self) -> dict[str, str]:
        """Return the tags of the version, written in the transaction that creates it."""
        scores = {name: score.model_dump() for name, score in self.evaluation.trained.scores.items()}
        data = RegisteredData(name=self.snapshot.name, takes=self.takes)
        return {
            **self.run_tags,
            **data.tags,
            SCORES: json.dumps(scores),
            EVALUATION_DIGEST: self.evaluation.digest,
            **({SCALE: f"{self.scale:.6g}"} if self.scale else {}),
        }

    @property
    def run_tags(self) -> dict[str, str]:
        """Return the tags of its run and logged model: the training, the data, the code and the flow run."""
        lineage = {tag: getattr(self.lineage, name) for tag, name in _LINEAGE_TAGS.items()}
        known = {tag: value for tag, value in lineage.items() if value}
        return {TRAINING_DIGEST: self.checkpoint.digest, SNAPSHOT_DIGEST: self.snapshot.digest, **known}


class VersionRow(Ref):
    """A registered version, as a row of a list."""

    name: str
    version: int
    aliases: list[str]
    scores: dict[str, Score]
    created: datetime
    reason: str = Field(description="The last decision about it; empty before the first.")
    run_id: str
    training_digest: str


def model_ref(version: "ModelVersion", *, created: bool = False) -> ModelRef:
    """Return the ref of one of MLflow's versions."""
    return ModelRef(
        name=version.name,
        version=int(version.version),
        uri=f"models:/{version.name}/{version.version}",
        run_id=version.run_id or "",
        training_digest=version.tags.get(TRAINING_DIGEST, ""),
        scale=float(version.tags[SCALE]) if SCALE in version.tags else None,
        created=created,
    )


def version_row(version: "ModelVersion", aliases: Mapping[str, str]) -> VersionRow:
    """Return the row of one of MLflow's versions, given the aliases of its model (alias to version)."""
    return VersionRow(
        name=version.name,
        version=int(version.version),
        aliases=sorted(alias for alias, number in aliases.items() if int(number) == int(version.version)),
        scores={name: Score(**score) for name, score in json.loads(version.tags.get(SCORES, "{}")).items()},
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        reason=version.tags.get(DECISION, ""),
        run_id=version.run_id or "",
        training_digest=version.tags.get(TRAINING_DIGEST, ""),
    )
