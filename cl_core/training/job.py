"""A training job: all that a worker needs to train, as plain values that travel as JSON."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from cl_core.data.cache import cached_arrays, processor_state
from cl_core.modalities import Modality, Specs
from cl_core.modalities._model_input import ModelInput
from cl_core.modalities._processor import Processor
from cl_core.refs import InitialWeightsRef, SnapshotRef
from cl_core.specs import ComputeSpec, DataSpec, TrainingSpec
from cl_core.training.checkpoint import CheckpointStore
from cl_core.training.components import Parts
from cl_core.training.progress import ProgressLog
from cl_core.training.warm_start import WEIGHTS, state_of


class PreparedData(BaseModel):
    """A snapshot as an encoder takes it: all that evaluating one needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    snapshot: SnapshotRef
    data: DataSpec
    cache: Path = Field(description="The snapshot's samples as `data` asks for them, and their processor.")

    @property
    def modality(self) -> Modality:
        """The kind of the samples, with its options."""
        modality: Modality = self.data.built_modality
        return modality

    @property
    def arrays(self) -> Specs:
        """A row of the cache, which the registered model takes: of each column."""
        return cached_arrays(self.cache)

    @property
    def model_input(self) -> ModelInput:
        """What a model that is trained on it takes."""
        return ModelInput.of(self.modality, self.arrays)

    @property
    def view_shape(self) -> tuple[int, ...]:
        """The shape of a sample as the encoder takes it, such as (C, S, S)."""
        return self.processor.view_shape

    @property
    def processor(self) -> Processor:
        """What turns cached rows into what the encoder takes, as it was fitted to the training split."""
        return self.modality.processor(self.arrays, processor_state(self.cache))


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
    def processor(self) -> Processor:
        """What turns cached rows into what the encoder takes: fitted, or that of the weights it starts from."""
        if self.initial_weights is None:
            return super().processor
        champion = state_of("processor", self.initial_weights.path / WEIGHTS)
        return self.modality.continued_processor(self.arrays, champion, processor_state(self.cache))

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
