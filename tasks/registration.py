"""Registration in MLflow and the gate, as tasks."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from cl_core.evaluation.promotion_gate import Gains
from cl_core.refs import CheckpointRef, Decision, EvaluationReport, ModelRef, Score
from cl_core.specs import EvaluationSpec, PromotionSpec
from tasks.adapters.mlflow.model_store import ModelStore, model_store
from tasks.adapters.mlflow.model_version import Registration
from tasks.evaluation import assess_all, assess_one
from tasks.runtime.artifacts import publish_decision
from tasks.runtime.notifications import notify_decision
from tasks.runtime.provenance import lineage
from tasks.runtime.step import first_seen, log_outcome, step

if TYPE_CHECKING:
    from cl_core.evaluation.runner import Assessment
    from cl_core.training.job import TrainingJob


@step("register")
def register(
    model_name: str,
    job: "TrainingJob",
    checkpoint: CheckpointRef,
    scores: EvaluationReport,
    evaluation: EvaluationSpec,
) -> ModelRef:
    """Register the encoder as a new version of the model, exactly once per training."""
    from cl_core.evaluation import representations
    from cl_core.export import EmbeddingModel

    encoder = representations.trained_encoder(job, checkpoint.path)
    model = model_store().register(
        Registration(
            name=model_name,
            model=EmbeddingModel(encoder, job.normalization, job.data.image_size),
            snapshot=job.snapshot,
            checkpoint=checkpoint,
            evaluation=scores,
            specs={"data": job.data, "training": job.training, "evaluation": evaluation}
            | ({"start": job.start} if job.start else {}),
            curves=[progress.model_dump() for progress in job.progress.read()],
            lineage=lineage(),
        )
    )
    note = f"registered as {model.uri}" if model.created else f"{model.uri} stands: this training was registered before"
    return model.model_copy(update={"note": log_outcome(note, stood=not model.created)})


@step("find version")
def find_version(model_name: str, job: "TrainingJob") -> ModelRef:
    """The version that this training was registered as; refuses where there is none."""
    model = model_store().of_training(model_name, job.digest)
    return model.model_copy(update={"note": log_outcome(f"{model.uri} was made by training {job.digest[:12]}")})


@step("promote")
def promote(
    model: ModelRef,
    job: "TrainingJob",
    checkpoint: CheckpointRef,
    scores: EvaluationReport,
    evaluation: EvaluationSpec,
    promotion: PromotionSpec,
) -> Decision:
    """Put the version to the gate: beside raw pixels, the untrained encoder and the champion, on one test split."""
    from cl_core.evaluation.runner import gain

    store = model_store()
    known = assess_all(job, checkpoint, evaluation)
    champion = champion_assessment(store, model, job, evaluation)

    def over(other: "Assessment | None") -> Score | None:
        return None if other is None else gain(known["trained"], other, promotion.score, evaluation)

    gains = Gains(
        over_untrained=over(known["untrained"]),
        over_raw_pixels=over(known["raw_pixels"]),
        over_champion=over(champion.assessment if champion else None),
        champion=champion.version if champion else 0,
    )
    before = champion_before(store, model.name)
    last = store.last_decision(model)
    last_reason = first_seen("last reason", last.reason if last else "")
    decision = store.decide(model.name, model.version, promotion, scores, gains)
    log_outcome(decision.reason, stood=before == model.version)
    publish_decision(decision)
    notify_decision(decision, before=before, news=decision.reason != last_reason)
    return decision


class ChampionAssessment(NamedTuple):
    """What the champion scores on the challenger's snapshot."""

    version: int
    assessment: "Assessment"


def champion_assessment(
    store: ModelStore, challenger: ModelRef, job: "TrainingJob", evaluation: EvaluationSpec
) -> ChampionAssessment | None:
    """The champion embedded afresh on this snapshot; None when there is none, or it is the challenger itself."""
    from cl_core.evaluation import representations

    champion = store.champion(challenger.name)
    if champion is None or champion.version == challenger.version:
        return None
    representation = representations.registered(store.load(champion), champion.training_digest, job)
    return ChampionAssessment(champion.version, assess_one(representation, job, evaluation))


@step("promote by hand")
def promote_by_hand(model_name: str, version: int, reason: str) -> Decision:
    """Make a version the champion, whatever the gate said."""
    return _move(model_name, lambda store: store.promote(model_name, version, reason))


@step("roll back")
def roll_back(model_name: str, reason: str) -> Decision:
    """Make the version before the champion again."""
    return _move(model_name, lambda store: store.rollback(model_name, reason))


def _move(model_name: str, move: Callable[[ModelStore], Decision]) -> Decision:
    store = model_store()
    before = champion_before(store, model_name)
    decision = move(store)
    log_outcome(decision.reason)
    publish_decision(decision)
    notify_decision(decision, before=before)
    return decision


def champion_before(store: ModelStore, model_name: str) -> int:
    """The champion's version when this step was first begun, 0 for none: an earlier attempt may have moved it."""
    standing = store.champion(model_name)
    return first_seen("champion", standing.version if standing else 0)
