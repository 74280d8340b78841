"""Up to a registered version, without putting it to the gate."""

from prefect import flow

from cl_core.refs import ModelRef
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, TrainingSpec
from flows.parameters import Force, ModelName
from tasks.evaluation import evaluate
from tasks.ingestion import ingest, validate
from tasks.registration import register as register_version
from tasks.runtime.hooks import FLOW
from tasks.training import plan, preflight, pretrain


@flow(name="register", **FLOW)
def register(
    model_name: ModelName = "fashion-mnist",
    data: DataSpec = DataSpec(),
    training: TrainingSpec = TrainingSpec(),
    evaluation: EvaluationSpec = EvaluationSpec(),
    compute: ComputeSpec = ComputeSpec(),
    force: Force = False,
) -> ModelRef:
    """Turn a dataset into a registered version, and leave the champion as it is."""
    preflight(data, training, evaluation, model_name)
    snapshot = ingest(data, compute, force=force)
    validate(snapshot, data, compute)
    job = plan(snapshot, data, training, compute, model_name)
    checkpoint = pretrain(job, force=force)
    scores = evaluate(job, checkpoint, evaluation)
    return register_version(model_name, job, checkpoint, scores, evaluation)
