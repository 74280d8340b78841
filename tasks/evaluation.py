"""Evaluation of the frozen encoder, beside what was there before training, as a task."""

from typing import TYPE_CHECKING

from cl_core.hashing import digest_of
from cl_core.refs import CheckpointRef, EvaluationReport
from cl_core.specs import EvaluationSpec
from tasks.runtime.settings import Settings
from tasks.runtime.step import log_outcome, step

if TYPE_CHECKING:
    from cl_core.evaluation.runner import Assessment, Representation
    from cl_core.training.job import PreparedData, TrainingJob


@step("evaluate")
def evaluate(job: "TrainingJob", checkpoint: CheckpointRef, evaluation: EvaluationSpec) -> EvaluationReport:
    """Measure the trained encoder, the same encoder untrained, and raw pixels."""
    settings = Settings.from_environment()
    before = {path.name for path in settings.evaluations.glob("*")}
    assessments = assess_all(job, checkpoint, evaluation)
    fresh = {path.name for path in settings.evaluations.glob("*")} - before
    digest = digest_of([checkpoint.digest, evaluation, sorted(assessments)])
    note = (
        f"measured {', '.join(evaluation.protocols)} on {len(assessments)} representations of "
        f"{job.snapshot.rows['test']} test samples"
        if fresh
        else f"evaluation {digest[:12]} stands: checkpoint, snapshot, protocols and code have not changed"
    )
    return EvaluationReport(
        digest=digest,
        training_digest=checkpoint.digest,
        snapshot_digest=job.snapshot.digest,
        path=settings.evaluations,
        representations={name: one.report for name, one in assessments.items()},
        left_out=left_out(job, evaluation),
        note=log_outcome(note, stood=not fresh),
    )


def assess_all(job: "TrainingJob", checkpoint: CheckpointRef, evaluation: EvaluationSpec) -> "dict[str, Assessment]":
    """Assessments of the trained encoder and the baselines, by name; read back where they stand."""
    from cl_core.evaluation import representations

    made = (
        representations.trained(job, checkpoint.path),
        representations.untrained(job),
        representations.raw_pixels(job),
    )
    return {one.name: assess_one(one, job, evaluation) for one in made}


def assess_one(representation: "Representation", on: "PreparedData", evaluation: EvaluationSpec) -> "Assessment":
    """The assessment of one representation, kept under CL_HOME."""
    from cl_core.evaluation.runner import assess

    settings = Settings.from_environment()
    return assess(
        representation,
        evaluation,
        snapshot=on.snapshot,
        cache=on.cache,
        embeddings=settings.embeddings,
        evaluations=settings.evaluations,
    )


def left_out(on: "PreparedData", evaluation: EvaluationSpec) -> list[str]:
    """Protocols that cannot run on the data, each with its reason."""
    from cl_core.evaluation.runner import protocols

    return [
        f"{name}: the data have no labels"
        for name, protocol in protocols(evaluation).items()
        if protocol.needs_labels and not on.snapshot.classes
    ]
