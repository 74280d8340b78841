"""The registration steps: register a version in MLflow, decide its promotion, move the champion by hand."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from cl_core.evaluation.promotion_gate import Gains
from cl_core.refs import AssessmentRef, CheckpointRef, Decision, EvaluationReport, ModelRef, NotComparable, Score
from cl_core.report.reasons import decision_sentence
from cl_core.specs import EvaluationSpec, PromotionSpec
from tasks.adapters.mlflow.model_store import ModelStore, model_store
from tasks.adapters.mlflow.model_version import Registration
from tasks.runtime.artifacts import publish_decision
from tasks.runtime.notifications import notify_decision
from tasks.runtime.provenance import lineage
from tasks.runtime.step import first_seen, log_outcome, step

if TYPE_CHECKING:
    from cl_core.export import EmbeddingModel
    from cl_core.training.job import TrainingJob


@step("register")
def register(
    model_name: str,
    job: "TrainingJob",
    checkpoint: CheckpointRef,
    scores: EvaluationReport,
    evaluation: EvaluationSpec,
    recipe: str = "",
) -> ModelRef:
    """Register the encoder as a new version of the model, exactly once per training."""
    from cl_core.evaluation import representations
    from cl_core.export import EmbeddingModel
    from cl_core.training.checkpoint import load_learned

    @cache
    def build() -> "EmbeddingModel":
        return EmbeddingModel(job.processor, representations.trained_encoder(job, checkpoint.path))

    def scale() -> float | None:
        loss = job.parts.loss
        return loss.logit_scale(load_learned(checkpoint.path)) if loss and job.model_input.second else None

    model = model_store().register(
        Registration(
            name=model_name,
            build_model=build,
            snapshot=job.snapshot,
            takes=job.model_input,
            checkpoint=checkpoint,
            evaluation=scores,
            specs={"data": job.data, "training": job.training, "evaluation": evaluation}
            | ({"start": job.initial_weights} if job.initial_weights else {}),
            curves=[progress.model_dump() for progress in job.progress.read()],
            lineage=lineage(recipe),
            scale=scale(),
        )
    )
    if model.created:
        log_outcome(f"registered as {model.uri}")
    else:
        log_outcome(f"{model.uri} is up to date (training {job.digest[:12]} was registered before)", cached=True)
    return model


@step("find version")
def find_version(model_name: str, job: "TrainingJob") -> ModelRef:
    """Find the version that this training was registered as; refuse when there is none."""
    model = model_store().of_training(model_name, job.digest)
    log_outcome(f"{model.uri} was made by training {job.digest[:12]}")
    return model


@step("promote")
def promote(
    model: ModelRef,
    scores: EvaluationReport,
    champion: AssessmentRef | NotComparable | None,
    evaluation: EvaluationSpec,
    promotion: PromotionSpec,
) -> Decision:
    """Decide whether the version becomes the champion, by its gains over the baselines and the champion.

    Args:
        model: The challenger.
        scores: Its evaluation beside the baselines.
        champion: The champion's assessment on the same test split, or why there is none; None without a champion.
        evaluation: Resamples and seed of the intervals.
        promotion: What the gate asks for.
    """
    store = model_store()
    gains = _gains(scores, champion, evaluation, promotion.score)
    before = _champion_before(store, model.name)
    last = store.last_decision(model)
    last_reason = first_seen("last reason", decision_sentence(last) if last else "")
    decision = store.decide(model.name, model.version, promotion, scores, gains)
    sentence = decision_sentence(decision)
    log_outcome(sentence, cached=before == model.version)
    publish_decision(decision)
    notify_decision(decision, before=before, news=sentence != last_reason)
    # Of a version that is the champion already, the record says why it became the champion.
    return store.last_decision(model) or decision


@step("find decision")
def find_decision(model: ModelRef) -> Decision | None:
    """Find the last recorded decision about a version; None before the first."""
    decision = model_store().last_decision(model)
    log_outcome(decision_sentence(decision) if decision else f"{model.uri} has no decision yet")
    return decision


@step("promote by hand")
def promote_by_hand(model_name: str, version: int, reason: str) -> Decision:
    """Make a version the champion, whatever the gate decided."""
    return _move(model_name, lambda store: store.promote(model_name, version, reason))


@step("roll back")
def roll_back(model_name: str, reason: str) -> Decision:
    """Make the version before the champion again."""
    return _move(model_name, lambda store: store.rollback(model_name, reason))


def _move(model_name: str, move: Callable[[ModelStore], Decision]) -> Decision:
    store = model_store()
    before = _champion_before(store, model_name)
    decision = move(store)
    log_outcome(decision_sentence(decision))
    publish_decision(decision)
    notify_decision(decision, before=before)
    return decision


def _champion_before(store: ModelStore, model_name: str) -> int:
    """Return the champion before this step's first attempt, 0 for none: a killed attempt may have moved it."""
    champion = store.champion(model_name)
    return first_seen("champion", champion.version if champion else 0)


def _gains(
    scores: EvaluationReport, champion: AssessmentRef | NotComparable | None, evaluation: EvaluationSpec, score: str
) -> Gains:
    from cl_core.evaluation.runner import gain, read_assessment

    trained = read_assessment(scores.assessments["trained"])

    def over(other: AssessmentRef | None) -> Score | None:
        return None if other is None else gain(trained, read_assessment(other), score, evaluation)

    # Pixels and words have nothing in common, so that the baseline of images with texts has no score of pairs.
    has_score = score in scores.representations[scores.baseline].scores or score not in scores.trained.scores
    return Gains(
        over_untrained=over(scores.assessments["untrained"]),
        over_baseline=over(scores.assessments[scores.baseline]) if has_score else None,
        baseline=scores.baseline if has_score else "",
        over_champion=over(champion) if isinstance(champion, AssessmentRef) else None,
        champion=champion.version if champion else 0,
        not_comparable=champion if isinstance(champion, NotComparable) else None,
    )
