"""Ingestion and validation as tasks."""

from pathlib import Path

from cl_core.data import validation
from cl_core.data.cache import build_cache
from cl_core.data.ingest import pipeline
from cl_core.data.snapshot import snapshot_profile
from cl_core.data.snapshot_diff import describe_changes, previous_profile
from cl_core.data.validation import ValidationReport
from cl_core.failpoints import failpoint
from cl_core.refs import SnapshotRef
from cl_core.specs import ComputeSpec, DataSpec
from tasks.runtime.artifacts import publish_profile
from tasks.runtime.console import counting
from tasks.runtime.settings import Settings
from tasks.runtime.step import log_outcome, step


@step("ingest")
def ingest(data: DataSpec, compute: ComputeSpec, *, force: bool) -> SnapshotRef:
    """Bring the source's samples into a snapshot, or find that its snapshot stands."""
    with counting("ingest", "inputs") as show:
        ingested = pipeline.ingest_source(
            data,
            datasets=Settings.from_environment().datasets,
            workers=compute.ingest_workers,
            force=force,
            on_progress=show,
        )
    return ingested.snapshot.model_copy(update={"note": log_outcome(ingested.reason, stood=not ingested.new)})


@step("validate")
def validate(snapshot: SnapshotRef, data: DataSpec, compute: ComputeSpec) -> ValidationReport:
    """Refuse data that cannot be trained on."""
    cache = training_cache(snapshot, data.image_size, compute)
    report = validation.validate_snapshot(snapshot, cache, data)
    failpoint("validate.checked")
    near = report.near_duplicates
    log_outcome(
        f"{report.train_samples} training and {report.test_samples} test samples, {report.classes} classes, "
        f"{report.quarantined} quarantined, {report.duplicates} copies merged, "
        f"{near.test_images} test images with a near-duplicate in training"
    )
    facts = snapshot_profile(snapshot)
    changed = describe_changes(previous_profile(snapshot.path), facts)
    publish_profile(facts, report, note=snapshot.note, changed=changed)
    return report


def training_cache(snapshot: SnapshotRef, image_size: int, compute: ComputeSpec) -> Path:
    """The snapshot's images at training size, verified; built when missing."""
    with counting("bring to size", "images") as show:
        return build_cache(
            snapshot,
            size=image_size,
            caches=Settings.from_environment().caches,
            workers=compute.ingest_workers,
            on_progress=show,
        )
