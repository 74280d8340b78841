"""From a dataset to a registered, and perhaps promoted, embedding model. Read this first."""

from prefect import flow

import tasks.evaluation
import tasks.ingestion
import tasks.registration
import tasks.reporting
import tasks.training
from cl_core.refs import RetrainResult
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, PromotionSpec, TrainingSpec
from flows.parameters import AllowNewData, Force, ModelNameOrData, RecipeName
from tasks.runtime.hooks import FLOW
from tasks.runtime.locks import exclusive_model


@flow(name="retrain", **FLOW)
def retrain(
    *,
    model_name: ModelNameOrData = "",
    data: DataSpec,
    training: TrainingSpec = TrainingSpec(),
    evaluation: EvaluationSpec = EvaluationSpec(),
    promotion: PromotionSpec = PromotionSpec(),
    compute: ComputeSpec = ComputeSpec(),
    force: Force = False,
    allow_new_data: AllowNewData = False,
    recipe: RecipeName = "",
) -> RetrainResult:
    """Ingest, pretrain, evaluate, register and, if the gate accepts it, promote. Unchanged steps are skipped."""
    model_name = model_name or data.name
    with exclusive_model(model_name):
        parts = tasks.training.preflight(data, training, evaluation, compute, model_name, allow_new_data=allow_new_data)
        snapshot = tasks.ingestion.ingest(data, compute, force=force)
        cache = tasks.ingestion.cache(snapshot, data, compute)
        validation = tasks.ingestion.validate(snapshot, cache, data)
        tasks.evaluation.plan_evaluation(snapshot, evaluation, promotion)
        job = tasks.training.plan(snapshot, cache, data, parts, compute, model_name, allow_new_data=allow_new_data)
        tasks.evaluation.check_champion(model_name, job)
        checkpoint = tasks.training.pretrain(job, force=force)
        scores = tasks.evaluation.evaluate(job, checkpoint, evaluation)
        model = tasks.registration.register(model_name, job, checkpoint, scores, evaluation, recipe)
        champion = tasks.evaluation.evaluate_champion(model, job, evaluation)
        decision = tasks.registration.promote(model, scores, champion, evaluation, promotion)
        page = tasks.reporting.report(model, job, checkpoint, scores, champion, decision, evaluation, validation)
        return RetrainResult(
            snapshot=snapshot, checkpoint=checkpoint, evaluation=scores, model=model, decision=decision, report=page
        )
