"""The single stages: each runs `flows/retrain.py` up to one result."""

from typing import TYPE_CHECKING

from prefect import flow

import tasks.evaluation
import tasks.ingestion
import tasks.registration
import tasks.reporting
import tasks.training
from cl_core.data.validation import ValidationReport
from cl_core.refs import CacheRef, CheckpointRef, EvaluationReport, ModelRef, ReportRef, SnapshotRef
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, TrainingSpec
from flows.parameters import AllowNewData, Force, ModelNameOrData, RecipeName
from tasks.runtime.hooks import FLOW

if TYPE_CHECKING:  # It brings torch.
    from cl_core.training.job import TrainingJob


@flow(name="ingest", **FLOW)
def ingest(*, data: DataSpec, compute: ComputeSpec = ComputeSpec(), force: Force = False) -> SnapshotRef:
    """Read a source into a validated snapshot."""
    snapshot, *_ = _validated(data, compute, force=force)
    return snapshot


@flow(name="validate", **FLOW)
def validate(*, data: DataSpec, compute: ComputeSpec = ComputeSpec(), force: Force = False) -> ValidationReport:
    """Check that a source's samples can be trained on, and report on them."""
    *_, validation = _validated(data, compute, force=force)
    return validation


@flow(name="pretrain", **FLOW)
def pretrain(
    *,
    data: DataSpec,
    training: TrainingSpec = TrainingSpec(),
    compute: ComputeSpec = ComputeSpec(),
    force: Force = False,
) -> CheckpointRef:
    """Train an encoder."""
    job, _ = _planned(data, training, None, compute, force=force)
    return tasks.training.pretrain(job, force=force)


@flow(name="evaluate", **FLOW)
def evaluate(
    *,
    data: DataSpec,
    training: TrainingSpec = TrainingSpec(),
    evaluation: EvaluationSpec = EvaluationSpec(),
    compute: ComputeSpec = ComputeSpec(),
    force: Force = False,
) -> EvaluationReport:
    """Train an encoder if needed, and evaluate it beside its baselines."""
    job, _ = _planned(data, training, evaluation, compute, force=force)
    checkpoint = tasks.training.pretrain(job, force=force)
    return tasks.evaluation.evaluate(job, checkpoint, evaluation)


@flow(name="register", **FLOW)
def register(
    *,
    model_name: ModelNameOrData = "",
    data: DataSpec,
    training: TrainingSpec = TrainingSpec(),
    evaluation: EvaluationSpec = EvaluationSpec(),
    compute: ComputeSpec = ComputeSpec(),
    force: Force = False,
    allow_new_data: AllowNewData = False,
    recipe: RecipeName = "",
) -> ModelRef:
    """Train an encoder if needed, and register it as a version. The champion stays."""
    model_name = model_name or data.name
    job, _ = _planned(data, training, evaluation, compute, model_name, force=force, allow_new_data=allow_new_data)
    checkpoint = tasks.training.pretrain(job, force=force)
    scores = tasks.evaluation.evaluate(job, checkpoint, evaluation)
    return tasks.registration.register(model_name, job, checkpoint, scores, evaluation, recipe)


@flow(name="report", **FLOW)
def report(
    *,
    model_name: ModelNameOrData = "",
    data: DataSpec,
    training: TrainingSpec = TrainingSpec(),
    evaluation: EvaluationSpec = EvaluationSpec(),
    compute: ComputeSpec = ComputeSpec(),
) -> ReportRef:
    """Write the report of the version registered under these specs."""
    model_name = model_name or data.name
    job, validation = _planned(data, training, evaluation, compute, model_name, force=False)
    # Before the training, which takes long where there is none yet: a mistyped spec is refused in seconds.
    model = tasks.registration.find_version(model_name, job)
    checkpoint = tasks.training.pretrain(job, force=False)
    scores = tasks.evaluation.evaluate(job, checkpoint, evaluation)
    champion = tasks.evaluation.evaluate_champion(model, job, evaluation)
    decision = tasks.registration.find_decision(model)
    return tasks.reporting.report(model, job, checkpoint, scores, champion, decision, evaluation, validation)


def _validated(data: DataSpec, compute: ComputeSpec, *, force: bool) -> tuple[SnapshotRef, CacheRef, ValidationReport]:
    snapshot = tasks.ingestion.ingest(data, compute, force=force)
    cache = tasks.ingestion.cache(snapshot, data, compute)
    return snapshot, cache, tasks.ingestion.validate(snapshot, cache, data)


def _planned(
    data: DataSpec,
    training: TrainingSpec,
    evaluation: EvaluationSpec | None,
    compute: ComputeSpec,
    model_name: str = "",
    *,
    force: bool,
    allow_new_data: bool = True,
) -> "tuple[TrainingJob, ValidationReport]":
    """Run the steps before the training, which every stage from `pretrain` on has in common.

    Only a stage that registers a version may refuse new data.
    """
    parts = tasks.training.preflight(
        data, training, evaluation or EvaluationSpec(), compute, model_name, allow_new_data=allow_new_data
    )
    snapshot, cache, validation = _validated(data, compute, force=force)
    if evaluation is not None:
        tasks.evaluation.plan_evaluation(snapshot, evaluation)
    job = tasks.training.plan(snapshot, cache, data, parts, compute, model_name, allow_new_data=allow_new_data)
    return job, validation
