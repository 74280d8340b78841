"""Evaluate a registered version on any snapshot; nothing is trained or registered."""

from prefect import flow

import tasks.evaluation
import tasks.ingestion
from cl_core.refs import EvaluationReport
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec
from flows.parameters import ModelNameOrData, VersionOrChampion
from tasks.runtime.hooks import FLOW


@flow(name="evaluate-model", **FLOW)
def evaluate_model(
    model_name: ModelNameOrData = "",
    version: VersionOrChampion = 0,
    *,
    data: DataSpec,
    evaluation: EvaluationSpec = EvaluationSpec(),
    compute: ComputeSpec = ComputeSpec(),
) -> EvaluationReport:
    """Evaluate a registered version on the snapshot of a source."""
    model = tasks.evaluation.select_model(model_name or data.name, version, data)
    snapshot = tasks.ingestion.ingest(data, compute, force=False)
    cache = tasks.ingestion.cache(snapshot, data, compute)
    tasks.ingestion.validate(snapshot, cache, data)
    tasks.evaluation.plan_evaluation(snapshot, evaluation)
    return tasks.evaluation.evaluate_model(model, snapshot, cache, data, evaluation)
