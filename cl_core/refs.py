"""Refs: the small values that travel between tasks, as JSON. They say where a thing stands and under which digest."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Ref(BaseModel):
    """Base of all refs: frozen, and a field that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StepResult(Ref):
    """What a step came to."""

    note: str = Field("", description="What the step did, or why there was nothing to do. One sentence, for people.")


class SnapshotRef(StepResult):
    """An ingested dataset, immutable."""

    name: str
    digest: str
    path: Path
    rows: dict[str, int] = Field(description="Distinct samples per split.")
    classes: list[str] = Field(description="Names of the classes, sorted; empty without labels.")
    channels: Literal[1, 3] = Field(description="1 when every image is greyscale.")
    quarantined: int = Field(description="Rejected inputs.")


class InitialWeightsRef(Ref):
    """Weights that a training starts from."""

    champion: str = Field(description="models:/NAME/VERSION of the champion that they were, then.")
    sha256: str = Field(description="Of the weights' file, 64 hexadecimal digits.")
    path: Path = Field(description="Sealed directory that holds them.")


class CheckpointRef(StepResult):
    """A finished training."""

    digest: str = Field(description="Training digest: snapshot, training spec, and cl_core's source.")
    path: Path = Field(description="The final checkpoint, a sealed directory.")
    step: int
    snapshot_digest: str
    resumed_from_step: int = Field(description="Step at which the last attempt went on; 0 from the start.")
    seconds: float = Field(description="Time spent training, over all attempts.")
    peak_bytes: int = Field(description="Most memory that worker 0's process held while training, in its last attempt.")


class Score(Ref):
    """A number with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class RepresentationReport(Ref):
    """What was measured on one representation of the test split."""

    scores: dict[str, Score] = Field(description="By name, such as linear_probe.accuracy.")
    per_class: dict[str, dict[str, Score]] = Field(description="precision, recall, f1 by class name.")
    confusion: list[list[int]] = Field(description="Rows are true classes, columns predicted ones; may be empty.")
    choices: dict[str, float] = Field(description="What was chosen on the validation part, such as the L2 strength.")


class EvaluationReport(StepResult):
    """Scores of the trained encoder beside the two baselines that say what training bought."""

    digest: str = Field(description="Evaluation digest: training digest, snapshot and evaluation spec.")
    training_digest: str
    snapshot_digest: str
    path: Path = Field(description="Sealed directory with the per-sample predictions.")
    representations: dict[str, RepresentationReport] = Field(
        description="`trained`, `untrained` (the same encoder before training) and `raw_pixels`."
    )
    left_out: list[str] = Field(description="Protocols that could not run, each with its reason.")

    @property
    def trained(self) -> RepresentationReport:
        """Scores of the trained encoder."""
        return self.representations["trained"]


class ModelRef(StepResult):
    """A registered model version."""

    name: str
    version: int
    uri: str = Field(description="models:/NAME/VERSION")
    run_id: str
    training_digest: str
    created: bool = Field(description="False when the version stood already.")


class EmbeddingsRef(StepResult):
    """Embeddings of many images, in one Parquet file."""

    path: Path
    model_uri: str = Field(description="models:/NAME/VERSION of the model that made them.")
    training_digest: str = Field(description="Of the training that made the model.")
    rows: int
    dimensions: int
    quarantined: int = Field(description="Inputs that could not be embedded; they stand in a file beside.")


class Decision(Ref):
    """The gate's verdict on a version."""

    name: str
    version: int
    champion: int = Field(description="Version that users fetch after the decision; 0 when there is none.")
    promoted: bool
    reason: str = Field(description="One readable sentence.")
    gain: Score | None = Field(None, description="Score of the challenger minus the champion's; none without one.")


class ReportRef(StepResult):
    """The report of a run."""

    path: Path = Field(description="One self-contained HTML file.")


class RetrainResult(Ref):
    """What a retraining came to."""

    snapshot: SnapshotRef
    checkpoint: CheckpointRef
    evaluation: EvaluationReport
    model: ModelRef
    decision: Decision
    report: ReportRef


class Lineage(Ref):
    """Where a registered version comes from, beside its data."""

    code_version: str = Field("", description="Version of the package.")
    source_digest: str = Field("", description="Digest of all its source files.")
    recipe: str = Field("", description="Name of the recipe, when one was used; the complete specs are in spec.json.")
    flow_run_id: str = Field("", description="Id of the Prefect flow run that registered it.")
    flow_run_url: str = Field("", description="Page of that run; empty without a Prefect UI.")
