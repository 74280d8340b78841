"""The report step: an HTML page on disk and in MLflow, and its summary in the Prefect UI."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cl_core import artifact_dir
from cl_core.data.cache import load_split
from cl_core.data.snapshot import snapshot_profile
from cl_core.data.validation import ValidationReport
from cl_core.failpoints import failpoint
from cl_core.hashing import digest_of
from cl_core.refs import AssessmentRef, CheckpointRef, Decision, EvaluationReport, ModelRef, NotComparable, ReportRef
from cl_core.report.costs import step_costs
from cl_core.report.report_inputs import ReportInputs
from cl_core.specs import EvaluationSpec
from tasks.adapters.mlflow.model_store import model_store
from tasks.adapters.mlflow.version_record import version_links
from tasks.runtime.artifacts import publish_report
from tasks.runtime.settings import Settings
from tasks.runtime.step import attempts_so_far, log_outcome, step, step_messages

if TYPE_CHECKING:
    from cl_core.training.job import TrainingJob


@step("report")
def report(
    model: ModelRef,
    job: "TrainingJob",
    checkpoint: CheckpointRef,
    scores: EvaluationReport,
    champion: AssessmentRef | NotComparable | None,
    decision: Decision | None,
    evaluation: EvaluationSpec,
    validation: ValidationReport,
) -> ReportRef:
    """Write the report of a version and a decision about it, unless the report is up to date.

    Args:
        model: The registered version.
        job: The training that made it.
        checkpoint: Its result.
        scores: Its evaluation beside the baselines.
        champion: Assessment of the champion, or why there is none; None without a champion.
        decision: The last decision about the version; None before the first.
        evaluation: What was asked of the evaluation.
        validation: The numbers of the data.
    """
    from cl_core.evaluation.runner import read_assessment
    from cl_core.report.summary import score_rows, summary_markdown

    settings = Settings.from_environment()
    # The page is named by scores, decision and champion, so that `cl report` and `cl retrain` agree on its name.
    path = settings.reports / model.name / f"version-{model.version}-{digest_of([scores.digest, decision])[:12]}.html"
    is_cached = path.exists() and not model.created
    links = version_links(settings.tracking_uri, model, path)
    # A champion that this decision has replaced is not the champion that users compare with.
    replaced = decision is not None and champion is not None and decision.champion != champion.version
    rival = champion if isinstance(champion, AssessmentRef) and not replaced else None
    compared = read_assessment(rival).report if rival else None
    specs = {"data": job.data, "training": job.training, "evaluation": evaluation, "compute": job.compute}
    inputs = ReportInputs(
        title=f"{model.name}, version {model.version}",
        model_name=model.name,
        version=model.version,
        uri=model.uri,
        decision=decision,
        evaluation=scores,
        champion=compared.scores if compared else {},
        champion_roc=compared.roc if compared else [],
        curves=[progress.model_dump() for progress in job.progress.read()],
        profile=snapshot_profile(job.snapshot.path),
        near_duplicates=validation.near_duplicates,
        specs={name: spec.model_dump(mode="json") for name, spec in specs.items()},
        lineage=_lineage(model, job, checkpoint, scores),
        timings=[cost for cost in step_costs(attempts_so_far()) if cost.outcome != "running"],
        links=links,
        **_pictured(job, checkpoint, scores, pictures=not is_cached),
    )
    if not is_cached:
        from cl_core.report.page import render_report  # It imports matplotlib.

        _publish(model, path, render_report(inputs))
    publish_report(summary_markdown(inputs), score_rows(scores, inputs.champion), links)
    log_outcome(f"{path} is up to date; skipped" if is_cached else f"written to {path}", cached=is_cached)
    return ReportRef(path=path)


def _publish(model: ModelRef, path: Path, page: str) -> None:
    """Write the page to MLflow first and to the file last: a file that exists means that both are complete."""
    failpoint("report.rendered")
    model_store().log_report(model.run_id, path.name, page)
    failpoint("report.page-logged")
    path.parent.mkdir(parents=True, exist_ok=True)
    artifact_dir.write_text(path, page)
    failpoint("report.file-written")


def _pictured(
    job: "TrainingJob", checkpoint: CheckpointRef, scores: EvaluationReport, *, pictures: bool
) -> dict[str, Any]:
    """Return what is shown of each test sample; without pictures nothing, since the summary needs none."""
    from cl_core.evaluation import representations
    from cl_core.evaluation.runner import features_of_test, read_assessment

    test = load_split(job.cache, "test")
    shown = slice(None if pictures else 0)
    predictions = read_assessment(scores.assessments["trained"]).predictions
    embeddings = np.empty((0, 1), np.float32)
    if pictures:
        trained = representations.trained(job, checkpoint.path)
        embeddings = features_of_test(trained, embeddings=Settings.from_environment().embeddings)
    return {
        "modality": job.modality,
        "rows": test.columns.select(shown),
        "embeddings": embeddings,
        "labels": test.labels[shown] if test.labels is not None and (test.labels >= 0).any() else None,
        "predicted": predictions["linear_probe"][shown] if "linear_probe" in predictions else None,
    }


def _lineage(
    model: ModelRef, job: "TrainingJob", checkpoint: CheckpointRef, scores: EvaluationReport
) -> list[tuple[str, str, str]]:
    messages = step_messages()
    weights = job.initial_weights
    return [
        ("source", job.data.source, job.data.location or "built into the source"),
        ("snapshot", job.snapshot.digest, messages.get("ingest", "")),
        *([("initial weights", weights.sha256, f"of {weights.champion}")] if weights else []),
        ("training", checkpoint.digest, messages.get("pretrain", "")),
        ("evaluation", scores.digest, messages.get("evaluate", "")),
        ("MLflow run", model.run_id, messages.get("register", messages.get("find version", ""))),
        ("model version", model.uri, f"training digest {model.training_digest[:12]}"),
    ]
