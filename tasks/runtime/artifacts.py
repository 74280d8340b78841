"""The artifacts of a run in the Prefect UI."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast
from uuid import UUID

from prefect.artifacts import (
    TableArtifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from cl_core.data.snapshot import SnapshotProfile
from cl_core.data.validation import ValidationReport
from cl_core.refs import Decision
from cl_core.report.markdown import render_markdown
from cl_core.training.progress import Progress

# Each update is a request to the server.
_UPDATE_EVERY_S = 2.0


@contextmanager
def training_artifact() -> Iterator[Callable[[Progress], None]]:
    """Create a progress artifact of a training; yield a function to call with each progress report."""
    artifact = cast(UUID, create_progress_artifact(0.0, key="training-progress", description="starting"))
    updated = 0.0

    def show(progress: Progress) -> None:
        nonlocal updated
        finished = progress.step == progress.steps
        if time.monotonic() - updated < _UPDATE_EVERY_S and not finished:
            return
        updated = time.monotonic()
        update_progress_artifact(
            artifact,
            progress=100 * progress.step / progress.steps,
            description=(
                f"epoch {progress.epoch:.2f}, step {progress.step} of {progress.steps}, {progress.figures}, "
                f"{progress.images_per_s:,.0f} images/s, {progress.seconds_left:.0f} s left"
            ),
        )

    yield show


@contextmanager
def embedding_artifact() -> Iterator[Callable[[int, int], None]]:
    """Create a progress artifact of embedding; yield a function of the inputs done and the inputs in all."""
    artifact = cast(UUID, create_progress_artifact(0.0, key="embedding-progress", description="starting"))
    began = updated = time.monotonic()

    def show(done: int, inputs: int) -> None:
        nonlocal updated
        if time.monotonic() - updated < _UPDATE_EVERY_S and done < inputs:
            return
        updated = time.monotonic()
        update_progress_artifact(
            artifact,
            progress=min(100.0, 100 * done / max(1, inputs)),
            description=f"{done:,} of {inputs:,} inputs, {updated - began:,.0f} s",
        )

    yield show


def publish_scores(rows: list[dict[str, str]]) -> None:
    """Publish scores, under the key that reports use as well."""
    create_table_artifact(rows, key="scores", description="Scores with their 95 % intervals")


def publish_profile(facts: SnapshotProfile, validation: ValidationReport, *, note: str, changed: str) -> None:
    """Publish the data that a run trains on: sizes, classes, quarantine, near-duplicates, and what changed."""
    page = render_markdown("data.md.j2", profile=facts, validation=validation, note=note, changed=changed)
    description = f"Snapshot {facts.digest[:12]} of {facts.name}: {changed}"
    create_markdown_artifact(page, key="data-profile", description=description)


def publish_decision(decision: Decision) -> None:
    """Publish a decision about a version, its reason, and the champion."""
    page = render_markdown("decision.md.j2", decision=decision)
    create_markdown_artifact(page, key="decision", description=decision.reason)


def publish_links(links: Mapping[str, str]) -> None:
    """Publish the addresses of the run, the version and the report of a model."""
    page = render_markdown("links.md.j2", links=links)
    create_markdown_artifact(page, key="links", description="MLflow run, model version and report")


def publish_report(markdown: str, rows: list[dict[str, str]]) -> None:
    """Publish a report's summary and its scores, under keys that keep a history from run to run."""
    create_markdown_artifact(markdown, key="retrain-report", description="Summary of the report")
    publish_scores(rows)


def publish_costs(flow_run_id: UUID, line: str, rows: list[dict[str, str]]) -> None:
    """Publish what the steps of a flow run cost; the run has ended, so its id has to be given."""
    TableArtifact(
        key="time-accounting", description=f"Cost of each step: {line}", table=rows, flow_run_id=flow_run_id
    ).create()
