"""Refs: the small values that travel between tasks, as JSON: paths, digests and numbers, no sentences."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

IMAGE = "image"
"""The modality of what names none: there was no other before."""


class Ref(BaseModel):
    """Base of all refs: frozen, and a field that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StepResult(Ref):
    """Base of the results of steps. What a step has to say to people is in the run log."""

    @model_validator(mode="before")
    @classmethod
    def _without_note(cls, values: Any) -> Any:
        # Version 0.1.0 stored a sentence for people with each result.
        return {name: value for name, value in values.items() if name != "note"} if isinstance(values, dict) else values


class Reason(Ref):
    """Base of reasons: a code, and the values that its sentence needs. `cl_core.report.reasons` has the sentences."""

    stored: str = Field("", description="The sentence itself, where an earlier version stored no code.")

    @model_validator(mode="before")
    @classmethod
    def _from_sentence(cls, stored: Any) -> Any:
        return {"code": "stored", "stored": stored} if isinstance(stored, str) else stored

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Each code uses a few of the fields.
        fields = type(self).model_fields
        return {name: value for name, value in dump(self).items() if getattr(self, name) != fields[name].default}


class SnapshotRef(StepResult):
    """An ingested dataset, immutable."""

    name: str
    digest: str
    path: Path
    rows: dict[str, int] = Field(description="Distinct samples per split.")
    classes: list[str] = Field(description="Names of the classes, sorted; empty without labels.")
    quarantined: int = Field(description="Rejected inputs.")
    modality: str = Field(IMAGE, description="Kind of the payloads.")

    @model_validator(mode="before")
    @classmethod
    def _without_images(cls, values: Any) -> Any:
        # Results of earlier versions say of images what the manifest says, too.
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if name not in ("channels", "value_range")}


class CacheRef(StepResult):
    """A snapshot's samples in the form that training reads."""

    digest: str = Field(description="Snapshot digest and shape of a sample.")
    path: Path = Field(description="Artifact directory that holds them.")


class InitialWeightsRef(Ref):
    """Weights that a training starts from."""

    champion: str = Field(description="models:/NAME/VERSION of the champion that had these weights.")
    sha256: str = Field(description="sha256 of the weights' file, 64 hexadecimal digits.")
    path: Path = Field(description="Artifact directory that holds them.")


class CheckpointRef(StepResult):
    """A finished training."""

    digest: str = Field(description="Digest of the snapshot, the training spec and the code of its components.")
    path: Path = Field(description="Artifact directory of the final checkpoint.")
    step: int
    snapshot_digest: str
    resumed_from_step: int = Field(description="Step at which the last attempt resumed; 0 from the start.")
    seconds: float = Field(description="Time spent training, over all attempts.")
    peak_bytes: int = Field(description="Peak memory of worker 0's process while training, in its last attempt.")


class Score(Ref):
    """A number with its 95 % interval, which holds it."""

    value: float
    low: float
    high: float


class RepresentationReport(Ref):
    """What was measured on one representation of the test split."""

    scores: dict[str, Score] = Field(description="By name, such as linear_probe.accuracy.")
    per_class: dict[str, dict[str, Score]] = Field(description="precision, recall, f1 by class name.")
    confusion: list[list[int]] = Field(description="Rows are true classes, columns predicted ones; may be empty.")
    choices: dict[str, float] = Field(description="What was chosen on the validation part, such as the L2 strength.")
    roc: list[tuple[float, float]] = Field(
        [], description="False accept rate and true accept rate of pairs at falling thresholds; may be empty."
    )


class AssessmentRef(StepResult):
    """The scores and predictions of one representation, kept on disk."""

    name: str = Field(description="`trained`, `untrained`, `champion`, or the baseline's, such as `raw_pixels`.")
    digest: str = Field(description="Digest of the representation, the evaluation spec and the code that evaluates.")
    path: Path = Field(description="Artifact directory of the scores and the per-sample predictions.")
    version: int = Field(0, description="Version of the registered model; 0 when it is not registered.")


class ComparisonReason(Reason):
    """Why a champion cannot be evaluated on the challenger's samples."""

    code: Literal["not_one_array", "other_arrays", "unknown_modality", "other_modality", "rejected_sample", "stored"]
    takes: str = Field("", description="What the champion takes, such as grayscale images of 28 x 28 pixels.")
    modality: str = Field("", description="Modality of the champion; of the data, if it is another one.")
    detail: str = Field("", description="What the modality reports of the champion's arrays, or of a sample.")


class NotComparable(StepResult):
    """A champion that cannot be evaluated on the challenger's samples."""

    version: int = Field(description="Version of the champion.")
    uri: str = Field("", description="models:/NAME/VERSION of the champion.")
    reason: ComparisonReason


class LeftOut(Reason):
    """A protocol that could not run, and why."""

    code: Literal["no_labels", "no_training_labels", "no_test_labels", "stored"]
    protocol: str = ""


class EvaluationReport(StepResult):
    """Scores of the trained encoder beside the two baselines."""

    digest: str = Field(description="Evaluation digest: training digest, snapshot and evaluation spec.")
    training_digest: str
    snapshot_digest: str
    path: Path = Field(description="Folder of all assessments.")
    representations: dict[str, RepresentationReport] = Field(
        description="`trained`, `untrained` (the same encoder before training) and the baseline, such as `raw_pixels`."
    )
    left_out: list[LeftOut] = Field(description="Protocols that could not run.")
    assessments: dict[str, AssessmentRef] = Field({}, description="Where the predictions behind the scores are kept.")

    @property
    def trained(self) -> RepresentationReport:
        """Scores of the trained encoder."""
        return self.representations["trained"]

    @property
    def baseline(self) -> str:
        """Name of the features that need no encoder, such as raw_pixels."""
        return next(name for name in self.representations if name not in ("trained", "untrained"))


class ModelRef(StepResult):
    """A registered model version."""

    name: str
    version: int
    uri: str = Field(description="models:/NAME/VERSION")
    run_id: str
    training_digest: str
    scale: float | None = Field(None, description="By what cosines are multiplied to be logits; none without one.")
    created: bool = Field(description="False when the version was registered before.")


class EmbeddingsRef(StepResult):
    """Embeddings of many samples, in one Parquet file."""

    path: Path
    model_uri: str = Field(description="models:/NAME/VERSION of the model that made them.")
    training_digest: str = Field(description="Of the training that made the model.")
    rows: int
    dimensions: int
    quarantined: int = Field(description="Inputs that could not be embedded, listed in a file beside it.")


Refusal = Literal[
    "collapsed", "not_measured", "not_finite", "not_compared", "not_better", "champion_changed", "rolled_back_before"
]


class DecisionReason(Reason):
    """Why a version was promoted, refused or rolled back."""

    code: Literal["better", "promoted_by_hand", "rolled_back", "already_champion", "stored"] | Refusal
    score: str = Field("", description="Name of the score that decided.")
    reached: Score | None = Field(None, description="Its value; none if it is not a number.")
    least: float = Field(0, description="Lower bound of that score, or of the gain over the champion.")
    measured: list[str] = Field([], description="Scores that were measured in place of it.")
    baseline: str = Field("", description="What it was compared with, such as raw_pixels; empty for the champion.")
    gain: Score | None = Field(None, description="Its difference from that; none if it is not a number.")
    champion: int = Field(0, description="Champion at that time; 0 when there was none.")
    compared: int = Field(0, description="Champion that it was compared with, if it is another; 0 for none.")
    not_comparable: NotComparable | None = Field(None, description="Why it was not compared with the champion.")
    words: str = Field("", description="What the person who decided gave as the reason.")
    earlier: "Decision | None" = Field(None, description="The decision that made it the champion.")


class Decision(Ref):
    """The last decision about a version."""

    name: str
    version: int
    champion: int = Field(description="Version that users fetch after the decision; 0 when there is none.")
    promoted: bool
    reason: DecisionReason
    gain: Score | None = Field(None, description="Score of the challenger minus the champion's; none without one.")


class ReportRef(StepResult):
    """The report of a run."""

    path: Path = Field(description="One self-contained HTML file.")


class RetrainResult(Ref):
    """The results of all steps of a retraining."""

    snapshot: SnapshotRef
    checkpoint: CheckpointRef
    evaluation: EvaluationReport
    model: ModelRef
    decision: Decision
    report: ReportRef


class Lineage(Ref):
    """The code, recipe and flow run that a registered version was made by."""

    code_version: str = Field("", description="Version of the package.")
    source_digest: str = Field("", description="Digest of all its source files.")
    recipe: str = Field("", description="Name of the recipe, when one was used; the complete specs are in spec.json.")
    flow_run_id: str = Field("", description="Id of the Prefect flow run that registered it.")
    flow_run_url: str = Field("", description="Page of that run; empty without a Prefect UI.")
