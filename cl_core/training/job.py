"""What a worker needs to train: plain values, so that it travels as JSON to wherever the worker runs."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from cl_core.refs import InitialWeightsRef, SnapshotRef
from cl_core.specs import ComputeSpec, DataSpec, TrainingSpec
from cl_core.training.checkpoint import CheckpointStore
from cl_core.training.progress import ProgressLog
from cl_core.views import Normalization


class PreparedData(BaseModel):
    """A snapshot at the size that an encoder takes: all that measuring one needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    snapshot: SnapshotRef
    data: DataSpec
    cache: Path = Field(description="The snapshot's images at the size of `data`.")
    mean: tuple[float, ...] = Field(description="Of the training split's pixels, per channel, in 0..1.")
    std: tuple[float, ...] = Field(description="Of the training split's pixels, per channel, in 0..1.")

    @property
    def normalization(self) -> Normalization:
        """Of the training split."""
        return Normalization(self.mean, self.std)


class TrainingJob(PreparedData):
    """One training: what, on which data, and where its results go."""

    digest: str = Field(description="Training digest; its results stand under it.")
    training: TrainingSpec
    compute: ComputeSpec
    start: InitialWeightsRef | None = Field(None, description="What the encoder starts from; none for fresh weights.")
    folder: Path = Field(description="Where checkpoints and progress go.")

    @property
    def checkpoints(self) -> CheckpointStore:
        """Where its checkpoints stand."""
        return CheckpointStore(self.folder / "checkpoints")

    @property
    def progress(self) -> ProgressLog:
        """Where its progress is logged."""
        return ProgressLog(self.folder / "progress.jsonl")
