"""Where a run computes, and how fast."""

from typing import Self

from pydantic import Field, model_validator

from cl_core.processes import cpu_count
from cl_core.registry import Described


def _default_threads() -> int:
    return min(2, cpu_count())


class ComputeSpec(Described):
    """Where a run computes and how fast. Nothing here changes the result, except what auto takes."""

    workers: int = Field(1, ge=1, le=4096, title="Training workers")
    """Processes that share each batch. 1 trains in the flow's own process."""
    threads: int = Field(
        default_factory=_default_threads,
        ge=1,
        le=65_536,
        title="CPU threads",
        json_schema_extra=lambda schema: schema.update(default=_default_threads()),
    )
    """CPU threads of all training workers together, shared evenly; at most the CPUs that the machine, or its container,
    allows. Where it allows only one, the default is 1."""
    gpus_per_worker: int = Field(0, ge=0, le=1, title="GPUs per worker")
    """1 gives each worker a GPU of its own; 0 trains on CPUs."""
    ingest_workers: int = Field(0, ge=0, le=1024, title="Ingestion threads")
    """Threads that decode samples while ingesting and caching; 0 takes one for each CPU."""
    checkpoint_every_s: float = Field(60, gt=0, title="Checkpoint interval")
    """Time between two checkpoints: at most this much training is lost when a run is killed. Seconds."""
    stall_timeout_s: float = Field(300, gt=0, title="Stall timeout")
    """Workers that take no step for this long are stopped and resume from the last checkpoint; must exceed the longest
    step and the report interval. Applies with two or more workers. Seconds."""
    report_every_s: float = Field(2, ge=0, title="Report interval")
    """Minimum time between two progress reports. Seconds."""
    knn_every_epochs: int = Field(1, ge=1, title="Neighbor score interval")
    """Epochs between two nearest-neighbor scores on the samples held out by training.held_out_share."""

    @model_validator(mode="after")
    def _threads_are_shared_evenly(self) -> Self:
        if self.threads % self.workers:
            raise ValueError(
                f"threads {self.threads} cannot be divided evenly among {self.workers} workers; "
                f"nearest: {max(1, round(self.threads / self.workers)) * self.workers}"
            )
        return self
