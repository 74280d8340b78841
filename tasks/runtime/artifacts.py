"""The artifacts of a run in the Prefect UI."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.schemas.actions import ArtifactCreate

from cl_core.data.snapshot import SnapshotProfile
from cl_core.data.validation import ValidationReport
from cl_core.refs import Decision
from cl_core.report.markdown import render_markdown
from cl_core.report.reasons import decision_sentence
from cl_core.training.progress import Progress

# Each update is a request to the server.
_UPDATE_EVERY_S = 2.0


def training_artifact() -> Callable[[Progress], None]:
    """Create a progress artifact of a training; return a function to call with each progress report."""
    update = _updates(create_progress_artifact(0.0, key="training-progress", description="starting"))

    def show(progress: Progress) -> None:
        update(
            progress.step,
            progress.steps,
            f"epoch {progress.epoch:.2f}, step {progress.step} of {progress.steps}, {progress.figures}, "
            f"{progress.images_per_s:,.0f} samples/s, {progress.seconds_left:.0f} s left",
        )

    return show


def embedding_artifact() -> Callable[[int, int], None]:
    """Create a progress artifact of embedding; return a function of the inputs done and the inputs in all."""
    update = _updates(create_progress_artifact(0.0, key="embedding-progress", description="starting"))
    began = time.monotonic()
    return lambda done, inputs: update(
        done, inputs, f"{done:,} of {inputs:,} inputs, {time.monotonic() - began:,.0f} s"
    )


def _updates(artifact: Any) -> Callable[[int, int, str], None]:
    """Return a function that updates a progress artifact: not too often, and at the end."""
    updated = 0.0

    def update(done: int, total: int, description: str) -> None:
        nonlocal updated
        if time.monotonic() - updated >= _UPDATE_EVERY_S or done >= total:
            updated = time.monotonic()
            update_progress_artifact(artifact, min(100.0, 100 * done / max(1, total)), description)

    return update


def publish_scores(rows: list[dict[str, str]]) -> None:
    """Publish scores, under the key that reports use as well."""
    create_table_artifact(rows, key="scores", description="Scores with their 95 % intervals")


def publish_profile(facts: SnapshotProfile, validation: ValidationReport, *, note: str, changed: str) -> None:
    """Publish the data that a run trains on: sizes, classes, quarantine, near-duplicates, and what changed."""
    page = render_markdown(
        "data.md.j2", profile=facts, modality=facts.kind, validation=validation, note=note, changed=changed
    )
    description = f"Snapshot {facts.digest[:12]} of {facts.name}: {changed}"
    create_markdown_artifact(page, key="data-profile", description=description)


def publish_decision(decision: Decision) -> None:
    """Publish a decision about a version, its reason, and the champion."""
    page = render_markdown("decision.md.j2", decision=decision)
    create_markdown_artifact(page, key="decision", description=decision_sentence(decision))


def publish_report(markdown: str, rows: list[dict[str, str]], links: Mapping[str, str]) -> None:
    """Publish a report's summary, its scores, and its addresses, under keys that keep a history from run to run."""
    create_markdown_artifact(markdown, key="retrain-report", description="Summary of the report")
    publish_scores(rows)
    page = render_markdown("links.md.j2", links=links)
    create_markdown_artifact(page, key="links", description="MLflow run, model version and report")


def publish_costs(flow_run_id: UUID, line: str, rows: list[dict[str, str]]) -> None:
    """Publish what the steps of a flow run cost; the run has ended, so its id has to be given."""
    artifact = ArtifactCreate(
        type="table",
        key="time-accounting",
        description=f"Cost of each step: {line}",
        data=json.dumps(rows),
        flow_run_id=flow_run_id,
    )
    # A cancelled run has no context any more, without which `TableArtifact` warns.
    with get_client(sync_client=True) as client:
        client.create_artifact(artifact)
