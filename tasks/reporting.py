"""The report of a run: an HTML file, an MLflow artifact, and its essence in the Prefect UI, as a task."""

from typing import TYPE_CHECKING

import numpy as np
from prefect.context import FlowRunContext

from cl_core import artifact_dir
from cl_core.data.cache import load_split
from cl_core.data.snapshot import snapshot_profile
from cl_core.data.validation import ValidationReport
from cl_core.failpoints import failpoint
from cl_core.hashing import digest_of
from cl_core.refs import CheckpointRef, Decision, EvaluationReport, ModelRef, ReportRef
from cl_core.report.costs import StepCost
from cl_core.report.report_inputs import ReportInputs
from cl_core.specs import EvaluationSpec
from tasks.adapters.mlflow.model_store import model_store
from tasks.adapters.mlflow.version_record import version_links
from tasks.evaluation import assess_all
from tasks.registration import champion_assessment
from tasks.runtime.artifacts import publish_links, publish_report
from tasks.runtime.run_log import step_costs
from tasks.runtime.settings import Settings
from tasks.runtime.step import log_outcome, run_log, step

if TYPE_CHECKING:
    from cl_core.training.job import TrainingJob


@step("report")
def report(
    model: ModelRef,
    job: "TrainingJob",
    checkpoint: CheckpointRef,
    scores: EvaluationReport,
    evaluation: EvaluationSpec,
    validation: ValidationReport,
) -> ReportRef:
    """Write the report of a version with the last decision about it, or find that it stands."""
    from cl_core.report.page import render_report
    from cl_core.report.summary import score_rows, summary_markdown

    decision = model_store().last_decision(model)
    digest = digest_of([scores.digest, decision])
    path = Settings.from_environment().reports / model.name / f"version-{model.version}-{digest[:12]}.html"
    stands = path.exists() and not model.created
    links = version_links(Settings.from_environment().tracking_uri, model, path)
    inputs = _inputs(model, decision, job, checkpoint, scores, evaluation, validation, links, pictures=not stands)
    note = f"{path} stands"
    if not stands:
        page = render_report(inputs)
        failpoint("report.rendered")
        # The file last: a page that stands is in MLflow as well.
        model_store().log_report(model.run_id, path.name, page)
        failpoint("report.page-logged")
        path.parent.mkdir(parents=True, exist_ok=True)
        artifact_dir.write_text(path, page)
        failpoint("report.file-written")
        note = f"written to {path}"
    publish_report(summary_markdown(inputs), score_rows(scores, inputs.champion))
    publish_links(links)
    return ReportRef(path=path, note=log_outcome(note, stood=stands))


def _inputs(
    model: ModelRef,
    decision: Decision | None,
    job: "TrainingJob",
    checkpoint: CheckpointRef,
    scores: EvaluationReport,
    evaluation: EvaluationSpec,
    validation: ValidationReport,
    links: dict[str, str],
    *,
    pictures: bool,
) -> ReportInputs:
    """What the report is made from; without pictures, what its essence is made from, which takes no time."""
    from cl_core.evaluation import representations

    test = load_split(job.cache, "test")
    pictured = slice(None if pictures else 0)
    representation = representations.trained(job, checkpoint.path)
    champion = champion_assessment(model_store(), model, job, evaluation)
    predictions = assess_all(job, checkpoint, evaluation)["trained"].predictions
    return ReportInputs(
        title=f"{model.name}, version {model.version}",
        model_name=model.name,
        version=model.version,
        uri=model.uri,
        decision=decision,
        evaluation=scores,
        champion=champion.assessment.report.scores if champion else {},
        curves=[progress.model_dump() for progress in job.progress.read()],
        profile=snapshot_profile(job.snapshot),
        near_duplicates=validation.near_duplicates,
        specs={
            "data": job.data.model_dump(mode="json"),
            "training": job.training.model_dump(mode="json"),
            "evaluation": evaluation.model_dump(mode="json"),
            "compute": job.compute.model_dump(mode="json"),
        },
        lineage=_lineage(model, job, checkpoint, scores),
        timings=_timings(),
        links=links,
        images=test.images[pictured],
        embeddings=representation.embed(test.images) if pictures else np.empty((0, 1), np.float32),
        labels=None if test.labels is None else test.labels[pictured],
        predicted=predictions["linear_probe"][pictured] if "linear_probe" in predictions else None,
    )


def _lineage(
    model: ModelRef, job: "TrainingJob", checkpoint: CheckpointRef, scores: EvaluationReport
) -> list[tuple[str, str, str]]:
    return [
        ("source", job.data.source, job.data.location or "the source's own place"),
        ("snapshot", job.snapshot.digest, job.snapshot.note),
        *([("starting weights", job.start.sha256, f"of {job.start.champion}")] if job.start else []),
        ("training", checkpoint.digest, checkpoint.note),
        ("evaluation", scores.digest, scores.note),
        ("MLflow run", model.run_id, model.note),
        ("model version", model.uri, f"training digest {model.training_digest[:12]}"),
    ]


def _timings() -> list[StepCost]:
    """What each step of this run, but for this one, has cost so far."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return []
    return [cost for cost in step_costs(run_log(str(context.flow_run.id)).read().attempts) if cost.outcome != "running"]
