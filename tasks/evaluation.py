"""Evaluation of the frozen encoder, beside what was there before training, as a task."""

from typing import TYPE_CHECKING

from cl_core.data.snapshot import snapshot_profile
from cl_core.errors import InputError
from cl_core.hashing import digest_of
from cl_core.refs import CheckpointRef, EvaluationReport, ModelRef, SnapshotRef
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec
from tasks.adapters.mlflow.model_store import model_store
from tasks.ingestion import training_cache
from tasks.runtime.artifacts import publish_scores
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


@step("find model")
def find_model(model_name: str, version: int, data: DataSpec) -> ModelRef:
    """The version, 0 being the champion; refuses data of another size before it is read."""
    store = model_store()
    model = store.find(model_name, version)
    height, width, _ = store.image_shape(model)
    if {height, width} != {data.image_size}:
        raise InputError(
            f"data.image_size: {model.uri} takes images of {height} x {width} pixels, not of {data.image_size}; "
            f"set it to {height}"
        )
    return model.model_copy(update={"note": log_outcome(f"{model.uri} takes images of {height} x {width} pixels")})


@step("measure")
def evaluate_model(
    model: ModelRef, snapshot: SnapshotRef, data: DataSpec, evaluation: EvaluationSpec, compute: ComputeSpec
) -> EvaluationReport:
    """Measure a registered version, as users call it, beside raw pixels."""
    from cl_core.evaluation import representations
    from cl_core.report.summary import score_rows
    from cl_core.training.job import PreparedData

    store, facts = model_store(), snapshot_profile(snapshot)
    on = PreparedData(
        snapshot=snapshot,
        data=data,
        cache=training_cache(snapshot, data.image_size, compute),
        mean=facts.mean,
        std=facts.std,
    )
    *_, channels = store.image_shape(model)
    if channels != snapshot.channels:
        kinds = {1: "greyscale", 3: "colour"}
        raise InputError(
            f"{model.uri} takes {kinds[channels]} images, and snapshot {snapshot.digest[:12]} is of "
            f"{kinds[snapshot.channels]} ones; measure it on data like that which it was trained on"
        )
    measured = {
        "trained": assess_one(
            representations.registered(store.load(model), model.training_digest, on), on, evaluation
        ).report,
        "raw_pixels": assess_one(representations.raw_pixels(on), on, evaluation).report,
    }
    report = EvaluationReport(
        digest=digest_of([model.training_digest, snapshot.digest, data.image_size, evaluation, sorted(measured)]),
        training_digest=model.training_digest,
        snapshot_digest=snapshot.digest,
        path=Settings.from_environment().evaluations,
        representations=measured,
        left_out=left_out(on, evaluation),
        note=log_outcome(
            f"measured {', '.join(evaluation.protocols)} on {model.uri} and raw pixels, on "
            f"{snapshot.rows['test']} test samples of snapshot {snapshot.digest[:12]}"
        ),
    )
    publish_scores(score_rows(report))
    return report
