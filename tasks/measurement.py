"""Measuring a registered version on a snapshot of anyone's choice, as a task."""

from cl_core.data.snapshot import snapshot_facts
from cl_core.errors import InputError
from cl_core.hashing import digest_of
from cl_core.refs import EvaluationReport, ModelRef, SnapshotRef
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec
from tasks.adapters.mlflow.model_store import model_store
from tasks.evaluation import assess_one, left_out
from tasks.ingestion import training_cache
from tasks.runtime.artifacts import publish_scores
from tasks.runtime.settings import Settings
from tasks.runtime.step import log_outcome, step


@step("find model")
def find_measurable(model_name: str, version: int, data: DataSpec) -> ModelRef:
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
def measure(
    model: ModelRef, snapshot: SnapshotRef, data: DataSpec, evaluation: EvaluationSpec, compute: ComputeSpec
) -> EvaluationReport:
    """Measure a registered version, as users call it, beside raw pixels."""
    from cl_core.evaluation import representations
    from cl_core.report.summary import score_rows
    from cl_core.training.job import PreparedData

    store, facts = model_store(), snapshot_facts(snapshot)
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
