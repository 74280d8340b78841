"""Up to the trained encoder, without evaluating or registering it."""

from prefect import flow

from cl_core.refs import CheckpointRef
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, TrainingSpec
from flows.parameters import Force
from tasks.ingestion import ingest, validate
from tasks.runtime.hooks import FLOW
from tasks.training import plan, preflight
from tasks.training import pretrain as train_encoder


@flow(name="pretrain", **FLOW)
def pretrain(
    data: DataSpec = DataSpec(),
    training: TrainingSpec = TrainingSpec(),
    compute: ComputeSpec = ComputeSpec(),
    force: Force = False,
) -> CheckpointRef:
    """Train an encoder on a source's samples."""
    preflight(data, training, EvaluationSpec())
    snapshot = ingest(data, compute, force=force)
    validate(snapshot, data, compute)
    job = plan(snapshot, data, training, compute)
    return train_encoder(job, force=force)
