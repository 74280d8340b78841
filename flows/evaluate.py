"""Up to the scores, without registering anything."""

from prefect import flow

from cl_core.refs import EvaluationReport
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, TrainingSpec
from flows.parameters import Force
from tasks.evaluation import evaluate as measure
from tasks.ingestion import ingest, validate
from tasks.runtime.hooks import FLOW
from tasks.training import plan, preflight, pretrain


@flow(name="evaluate", **FLOW)
def evaluate(
    data: DataSpec = DataSpec(),
    training: TrainingSpec = TrainingSpec(),
    evaluation: EvaluationSpec = EvaluationSpec(),
    compute: ComputeSpec = ComputeSpec(),
    force: Force = False,
) -> EvaluationReport:
    """Train an encoder, unless the trained one stands, and measure it beside its baselines."""
    preflight(data, training, evaluation)
    snapshot = ingest(data, compute, force=force)
    validate(snapshot, data, compute)
    job = plan(snapshot, data, training, compute)
    checkpoint = pretrain(job, force=force)
    return measure(job, checkpoint, evaluation)
