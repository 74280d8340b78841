"""The evaluation steps: the trained encoder beside its baselines, the champion, and any registered version."""

import json
from functools import partial
from typing import TYPE_CHECKING

from cl_core.data.snapshot import snapshot_profile
from cl_core.errors import InputError, StoreUnreachableError
from cl_core.hashing import digest_of
from cl_core.refs import (
    AssessmentRef,
    CacheRef,
    CheckpointRef,
    EvaluationReport,
    ModelRef,
    NotComparable,
    SnapshotRef,
)
from cl_core.report.reasons import comparison_sentence, missing_labels
from cl_core.report.wording import humanized
from cl_core.specs import DataSpec, EvaluationSpec, PromotionSpec
from tasks.adapters.mlflow.model_store import model_store
from tasks.champion_input import champion_input, made_into
from tasks.runtime.artifacts import publish_scores
from tasks.runtime.settings import Settings
from tasks.runtime.step import log_outcome, step

if TYPE_CHECKING:
    from cl_core.evaluation.protocol_choice import ProtocolChoice
    from cl_core.evaluation.protocols import EvaluatedData
    from cl_core.evaluation.representations import Representation
    from cl_core.evaluation.runner import Assessment
    from cl_core.modalities import Modality
    from cl_core.training.job import PreparedData, TrainingJob


@step("plan scores")
def plan_evaluation(snapshot: SnapshotRef, evaluation: EvaluationSpec, promotion: PromotionSpec | None = None) -> None:
    """Report what the labels of a snapshot allow to be measured, before anything is trained; refuse what they do not.

    Args:
        snapshot: What is evaluated on.
        evaluation: What was asked of the evaluation.
        promotion: What the gate asks for; None where nothing is promoted.
    """
    from cl_core.evaluation.protocol_choice import check_deciding_score

    choice = _choice(snapshot, evaluation)
    if promotion is not None:
        check_deciding_score(promotion.score, choice, _labels(snapshot))
    if choice.left_out:
        names = " and ".join(one.protocol for one in choice.left_out)
        log_outcome(f"{missing_labels(choice.left_out[0])}: {names} will be left out")
    for sentence in choice.adapted:
        log_outcome(sentence)
    if promotion is not None and choice.deciding_scores == []:
        log_outcome(f"no protocol measures {promotion.score}, so only a person promotes the version")


@step("check champion")
def check_champion(model_name: str, job: "TrainingJob") -> None:
    """Report before the training how the champion will be compared: on these samples at another size, or not at all."""
    store = model_store()
    try:
        champion = store.champion(model_name)
        # An unchanged training may be the champion's own; then nothing is asked of its files.
        if champion is None or champion.training_digest == job.digest:
            return
        model_input = champion_input(store, champion, job)
    except StoreUnreachableError as error:
        log_outcome(f"what the champion takes is not known yet: {error}")
        return
    if isinstance(model_input, NotComparable):
        log_outcome(
            f"warning: the version will not be promoted, whatever its scores: {comparison_sentence(model_input)}"
        )
    elif model_input != (own := job.model_input):
        log_outcome(
            f"{champion.uri}, the champion, takes {model_input}; it will be evaluated on this run's samples as such, "
            f"and this run's encoder on {own}"
        )


@step("evaluate")
def evaluate(job: "TrainingJob", checkpoint: CheckpointRef, evaluation: EvaluationSpec) -> EvaluationReport:
    """Evaluate the trained encoder, the same encoder untrained, and the baseline, unless all three are up to date."""
    from cl_core.evaluation import representations

    compared = (
        representations.trained(job, checkpoint.path),
        representations.untrained(job),
        representations.baseline(job),
    )
    assessments = {one.name: _assess(one, evaluation) for one in compared}
    digest = digest_of([checkpoint.digest, evaluation, _digests(assessments)])
    if cached := all(assessment.cached for assessment in assessments.values()):
        message = (
            f"evaluation {digest[:12]} is up to date (checkpoint, snapshot, protocols and code unchanged); skipped"
        )
    else:
        names = ", ".join(_choice(job.snapshot, evaluation).running)
        message = f"evaluated {names} on {len(assessments)} representations of {job.snapshot.rows['test']} test samples"
    log_outcome(message, cached=cached)
    return _report(digest, checkpoint.digest, job, evaluation, assessments)


@step("score champion")
def evaluate_champion(
    model: ModelRef, job: "TrainingJob", evaluation: EvaluationSpec
) -> AssessmentRef | NotComparable | None:
    """Evaluate the champion on the samples of the challenger, each as the champion takes it.

    Returns:
        Its assessment, or why there can be none; None when there is no champion, or it is the challenger.
    """
    from cl_core.evaluation import representations

    store = model_store()
    champion = store.champion(model.name)
    if champion is None or champion.version == model.version:
        log_outcome(f"{model.uri} is the champion" if champion else f"{model.name} has no champion yet")
        return None
    model_input = champion_input(store, champion, job)
    prepared = model_input if isinstance(model_input, NotComparable) else made_into(model_input, job, champion)
    if isinstance(prepared, NotComparable):
        log_outcome(comparison_sentence(prepared))
        return prepared
    load = partial(store.load, champion)
    representation = representations.registered(load, champion.training_digest, prepared)
    assessment = _assess(representation, evaluation)
    if assessment.cached:
        log_outcome(f"evaluation of {champion.uri} on this snapshot is up to date; skipped", cached=True)
    else:
        as_it_takes = "" if prepared is job else f", as the {model_input} that it takes"
        log_outcome(
            f"evaluated the champion, {champion.uri}, on the same {job.snapshot.rows['test']} test samples{as_it_takes}"
        )
    return assessment.ref.model_copy(update={"version": champion.version})


@step("find model")
def select_model(model_name: str, version: int, data: DataSpec) -> ModelRef:
    """Find the version, 0 being the champion; refuse data that it does not take before they are read."""
    store = model_store()
    model = store.find(model_name, version)
    model_input = store.model_input(model)
    modality: Modality = data.built_modality
    wanted = tuple(modality.served(side).registered_name for side in modality.programs)
    # A model of pairs of two kinds can be evaluated on samples of the first kind alone.
    if model_input.modalities[: len(wanted)] != wanted:
        raise InputError(
            f"data.modality: {model.uri} takes {model_input}, got {data.modality!r}; set it to {model_input.modality!r}"
        )
    for option, expected in model_input.other_options(modality).items():
        raise InputError(
            f"data.{data.option_name(option)}: {model.uri} takes {model_input}, got "
            f"{json.dumps(getattr(modality, option))}; set it to {json.dumps(expected)}"
        )
    log_outcome(f"{model.uri} takes {model_input}")
    return model


@step("evaluate model")
def evaluate_model(
    model: ModelRef, snapshot: SnapshotRef, cached: CacheRef, data: DataSpec, evaluation: EvaluationSpec
) -> EvaluationReport:
    """Evaluate a registered version, as users call it, beside the baseline."""
    from cl_core.evaluation import representations
    from cl_core.report.summary import score_rows
    from cl_core.training.job import PreparedData

    store = model_store()
    prepared = PreparedData(snapshot=snapshot, data=data, cache=cached.path)
    model_input = store.model_input(model)
    if len(prepared.modality.programs) == 1:
        model_input = model_input.model_copy(update={"second": None})
    if model_input != prepared.model_input:
        raise InputError(
            f"{model.uri} takes {model_input}, and snapshot {snapshot.digest[:12]} holds {prepared.model_input}; "
            "evaluate it on data like its training data"
        )
    registered = representations.registered(partial(store.load, model), model.training_digest, prepared)
    baseline = representations.baseline(prepared)
    assessments = {"trained": _assess(registered, evaluation), baseline.name: _assess(baseline, evaluation)}
    digest = digest_of([model.training_digest, snapshot.digest, model_input, evaluation, _digests(assessments)])
    log_outcome(
        f"evaluated {', '.join(_choice(snapshot, evaluation).running)} on {model.uri} and "
        f"{humanized(baseline.name)}, on {snapshot.rows['test']} test samples of snapshot {snapshot.digest[:12]}",
        cached=all(assessment.cached for assessment in assessments.values()),
    )
    report = _report(digest, model.training_digest, prepared, evaluation, assessments)
    publish_scores(score_rows(report))
    return report


def _assess(representation: "Representation", evaluation: EvaluationSpec) -> "Assessment":
    from cl_core.evaluation.runner import assess

    settings = Settings.from_environment()
    return assess(representation, evaluation, embeddings=settings.embeddings, evaluations=settings.evaluations)


def _digests(assessments: "dict[str, Assessment]") -> dict[str, str]:
    return {name: assessment.ref.digest for name, assessment in assessments.items()}


def _choice(snapshot: SnapshotRef, evaluation: EvaluationSpec) -> "ProtocolChoice":
    from cl_core.evaluation.protocol_choice import choose_protocols

    return choose_protocols(evaluation, _labels(snapshot))


def _labels(snapshot: SnapshotRef) -> "EvaluatedData":
    from cl_core.evaluation.protocol_choice import counts_of

    return counts_of(snapshot_profile(snapshot.path))


def _report(
    digest: str,
    training_digest: str,
    prepared: "PreparedData",
    evaluation: EvaluationSpec,
    assessments: "dict[str, Assessment]",
) -> EvaluationReport:
    choice = _choice(prepared.snapshot, evaluation)
    return EvaluationReport(
        digest=digest,
        training_digest=training_digest,
        snapshot_digest=prepared.snapshot.digest,
        path=Settings.from_environment().evaluations,
        representations={name: assessment.report for name, assessment in assessments.items()},
        left_out=choice.left_out,
        assessments={name: assessment.ref for name, assessment in assessments.items()},
    )
