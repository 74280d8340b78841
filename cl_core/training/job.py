"""A training job: all that a worker needs to train, as plain values that travel as JSON."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from cl_core.modalities import Modality
from cl_core.modalities._image_processor import ImageProcessor
from cl_core.refs import InitialWeightsRef, SnapshotRef
from cl_core.specs import ComputeSpec, DataSpec, TrainingSpec
from cl_core.training.checkpoint import CheckpointStore
from cl_core.training.components import Parts
from cl_core.training.progress import ProgressLog


class PreparedData(BaseModel):
    """A snapshot at the size that an encoder takes: all that evaluating one needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    snapshot: SnapshotRef
    data: DataSpec
    cache: Path = Field(description="The snapshot's images at the size of `data`.")
    mean: tuple[float, ...] = Field(description="Of the training split's pixels, per channel, in 0..1.")
    std: tuple[float, ...] = Field(description="Of the training split's pixels, per channel, in 0..1.")

    @property
    def view_shape(self) -> tuple[int, ...]:
        """The shape of a sample as the encoder takes it, such as (C, S, S)."""
        modality: Modality = self.data.built_modality
        return modality.view_shape(modality.array_spec({"channels": self.snapshot.channels}))

    @property
    def processor(self) -> ImageProcessor:
        """What turns cached rows into what the encoder takes, by the mean and std of the training split."""
        processor: ImageProcessor = self.data.built_modality.processor(mean=self.mean, std=self.std)
        return processor


class TrainingJob(PreparedData):
    """One training: its completed spec, its data, and the folder of its results."""

    digest: str = Field(description="Training digest, which names its results.")
    parts: Parts = Field(description="The components that the spec names.")
    compute: ComputeSpec
    initial_weights: InitialWeightsRef | None = Field(
        None, description="Weights that the encoder starts from; none for random ones."
    )
    folder: Path = Field(description="Folder of checkpoints and progress.")

    @property
    def training(self) -> TrainingSpec:
        """The completed spec: every name and option is written out."""
        return self.parts.spec

    @property
    def checkpoints(self) -> CheckpointStore:
        """The checkpoints of this training."""
        return CheckpointStore(self.folder / "checkpoints")

    @property
    def progress(self) -> ProgressLog:
        """The progress of this training."""
        return ProgressLog(self.folder / "progress.jsonl")
