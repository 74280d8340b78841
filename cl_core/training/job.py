"""What a worker needs to train: plain values, so that it travels as JSON to wherever the worker runs."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from cl_core.refs import SnapshotRef, StartRef
from cl_core.specs import ComputeSpec, DataSpec, TrainingSpec
from cl_core.training.checkpoint import CheckpointStore
from cl_core.training.progress import ProgressLog
from cl_core.views import Normalization


class TrainingJob(BaseModel):
    """One training: what, on which data, and where its results go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str = Field(description="Training digest; its results stand under it.")
    snapshot: SnapshotRef
    data: DataSpec
    training: TrainingSpec
    compute: ComputeSpec
    cache: Path = Field(description="The snapshot's images at training size.")
    start: StartRef | None = Field(None, description="What the encoder starts from; none for fresh weights.")
    folder: Path = Field(description="Where checkpoints and progress go.")
    mean: tuple[float, ...] = Field(description="Of the training split's pixels, per channel, in 0..1.")
    std: tuple[float, ...] = Field(description="Of the training split's pixels, per channel, in 0..1.")

    @property
    def normalization(self) -> Normalization:
        """Of the training split."""
        return Normalization(self.mean, self.std)

    @property
    def checkpoints(self) -> CheckpointStore:
        """Where its checkpoints stand."""
        return CheckpointStore(self.folder / "checkpoints")

    @property
    def progress(self) -> ProgressLog:
        """Where its progress is logged."""
        return ProgressLog(self.folder / "progress.jsonl")
