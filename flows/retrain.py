"""From a dataset to a registered, and perhaps promoted, embedding model. Read this first."""

from prefect import flow

from cl_core.refs import RetrainResult
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, PromotionSpec, TrainingSpec
from flows.parameters import Force, ModelName
from tasks.evaluation import evaluate
from tasks.ingestion import ingest, validate
from tasks.registration import promote, register
from tasks.reporting import report
from tasks.runtime.exclusive import exclusive_model
from tasks.runtime.hooks import FLOW
from tasks.training import plan, preflight, pretrain


@flow(name="retrain", **FLOW)
def retrain(
    model_name: ModelName = "fashion-mnist",
    data: DataSpec = DataSpec(),
    training: TrainingSpec = TrainingSpec(),
    evaluation: EvaluationSpec = EvaluationSpec(),
    promotion: PromotionSpec = PromotionSpec(),
    compute: ComputeSpec = ComputeSpec(),
    force: Force = False,
) -> RetrainResult:
    """Turn a dataset into a registered encoder. What stands under its digest is not done again."""
    with exclusive_model(model_name):
        preflight(data, training, evaluation, model_name)
        snapshot = ingest(data, compute, force=force)
        validation = validate(snapshot, data, compute)
        job = plan(snapshot, data, training, compute, model_name)
        checkpoint = pretrain(job, force=force)
        scores = evaluate(job, checkpoint, evaluation)
        model = register(model_name, job, checkpoint, scores, evaluation)
        decision = promote(model, job, checkpoint, scores, evaluation, promotion)
        page = report(model, job, checkpoint, scores, evaluation, validation)
        return RetrainResult(
            snapshot=snapshot, checkpoint=checkpoint, evaluation=scores, model=model, decision=decision, report=page
        )
