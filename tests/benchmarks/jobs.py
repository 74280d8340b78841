"""Trainings as a retraining prepares them: the data ingested and cached, the components assembled."""

from pathlib import Path

from cl_core.data.cache import build_cache
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.specs import ComputeSpec, DataSpec, TrainingSpec
from cl_core.training.components import assemble, training_digest
from cl_core.training.job import TrainingJob


def prepared_job(data: DataSpec, training: TrainingSpec, compute: ComputeSpec, home: Path) -> TrainingJob:
    """Ingest and cache the data below a folder, unless they are there; return their training, in a folder there."""
    snapshot = ingest_source(data, datasets=home / "datasets").snapshot
    parts = assemble(training, on_gpu=compute.gpus_per_worker > 0)
    digest = training_digest(parts, snapshot_digest=snapshot.digest, modality=data.built_modality)
    folder = home / "trainings" / digest
    folder.mkdir(parents=True, exist_ok=True)
    return TrainingJob(
        digest=digest,
        snapshot=snapshot,
        data=data,
        parts=parts,
        compute=compute,
        cache=build_cache(snapshot, data.built_modality, caches=home / "caches"),
        folder=folder,
    )
