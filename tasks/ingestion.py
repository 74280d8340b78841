"""The steps that prepare data: ingest a source, cache its samples, validate them."""

from cl_core.data import validation
from cl_core.data.cache import build_cache, cached_arrays
from cl_core.data.ingest import pipeline
from cl_core.data.snapshot import snapshot_profile
from cl_core.data.snapshot_diff import describe_changes, previous_profile
from cl_core.data.validation import ValidationReport
from cl_core.failpoints import failpoint
from cl_core.refs import CacheRef, SnapshotRef
from cl_core.report.wording import (
    copies_warning,
    counts,
    near_duplicate_warning,
    parted_groups_warning,
    test_only_warning,
)
from cl_core.specs import ComputeSpec, DataSpec
from tasks.adapters.ray.resources import check_ingestion
from tasks.runtime.artifacts import publish_profile
from tasks.runtime.console import counting
from tasks.runtime.settings import Settings
from tasks.runtime.step import log_outcome, step, step_messages


@step("ingest")
def ingest(data: DataSpec, compute: ComputeSpec, *, force: bool) -> SnapshotRef:
    """Read the source's samples into a snapshot, unless its snapshot is up to date."""
    check_ingestion(compute)
    with counting("ingest", "inputs") as show:
        ingested = pipeline.ingest_source(
            data,
            datasets=Settings.from_environment().datasets,
            workers=compute.ingest_workers,
            force=force,
            on_progress=show,
        )
    log_outcome(ingested.reason, cached=not ingested.new)
    return ingested.snapshot


@step("cache")
def cache(snapshot: SnapshotRef, data: DataSpec, compute: ComputeSpec) -> CacheRef:
    """Decode the snapshot's samples for training, and fit their processor, unless the cache is up to date."""
    samples, modality = 0, data.built_modality

    def count(done: int) -> None:
        nonlocal samples
        samples = done
        show(done)

    with counting("cache", f"{modality.unit}s") as show:
        path = build_cache(
            snapshot,
            modality,
            caches=Settings.from_environment().caches,
            workers=compute.ingest_workers,
            on_progress=count,
        )
    description = modality.describe(cached_arrays(path))
    if samples:
        log_outcome(f"decoded {samples:,} {modality.unit}s into {description}")
    else:
        log_outcome(f"cache of snapshot {snapshot.digest[:12]} as {description} is up to date; skipped", cached=True)
    return CacheRef(digest=path.name, path=path)


@step("validate")
def validate(snapshot: SnapshotRef, cached: CacheRef, data: DataSpec) -> ValidationReport:
    """Refuse data that cannot be trained on."""
    report = validation.validate_snapshot(snapshot, cached.path, data)
    failpoint("validate.checked")
    near, modality = report.near_duplicates, data.built_modality
    log_outcome(
        f"{report.train_samples} training and {report.test_samples} test samples, {report.classes} classes, "
        f"{report.quarantined} quarantined, {report.duplicates} copies merged"
        + (f", near-duplicates of training {modality.unit}s in the test split: {near.test_samples}" if near else "")
        + (f", passed over: {counts(report.passed_over)}" if report.passed_over else "")
    )
    facts = snapshot_profile(snapshot.path)
    if facts.groups:
        log_outcome(f"kept together: {facts.groups.phrase}")
    warnings = [
        near_duplicate_warning(near, modality.unit),
        parted_groups_warning(facts.groups),
        copies_warning(report.copies_of_test, report.copied_origins),
        *modality.warnings(facts.content),
        test_only_warning(report.test_only, len(facts.classes)),
    ]
    for warning in filter(None, warnings):
        log_outcome(f"warning: {warning}")
    for names in report.look_alikes:
        log_outcome(
            f"warning: classes {', '.join(map(repr, names))} look alike; if they are one, "
            "give them one name in the source"
        )
    changed = describe_changes(previous_profile(snapshot.path), facts)
    publish_profile(facts, report, note=step_messages().get("ingest", ""), changed=changed)
    return report
