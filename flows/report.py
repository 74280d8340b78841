"""The report of a version that stands, with the last decision about it; nothing is decided anew."""

from prefect import flow

from cl_core.refs import ReportRef
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, TrainingSpec
from flows.parameters import ModelName
from tasks.evaluation import evaluate
from tasks.ingestion import ingest, validate
from tasks.registration import find_version
from tasks.reporting import report as write_report
from tasks.runtime.hooks import FLOW
from tasks.training import plan, preflight, pretrain


@flow(name="report", **FLOW)
def report(
    model_name: ModelName = "fashion-mnist",
    data: DataSpec = DataSpec(),
    training: TrainingSpec = TrainingSpec(),
    evaluation: EvaluationSpec = EvaluationSpec(),
    compute: ComputeSpec = ComputeSpec(),
) -> ReportRef:
    """Write the report of the version that was registered under these specs."""
    preflight(data, training, evaluation, model_name)
    snapshot = ingest(data, compute, force=False)
    validation = validate(snapshot, data, compute)
    job = plan(snapshot, data, training, compute, model_name)
    # Before the training, which takes long where nothing stands: a mistyped spec is refused in seconds.
    model = find_version(model_name, job)
    checkpoint = pretrain(job, force=False)
    scores = evaluate(job, checkpoint, evaluation)
    return write_report(model, job, checkpoint, scores, evaluation, validation)
