"""Contrastive pretraining as a task."""

import json
from pathlib import Path

from prefect import task

from cl_core import failpoints, sealed
from cl_core.assembly import check_batches, complete, training_digest
from cl_core.assessment import protocols
from cl_core.data.read import snapshot_facts
from cl_core.errors import IntegrityError
from cl_core.image_size import check_image_size
from cl_core.refs import CheckpointRef, SnapshotRef
from cl_core.registry import SOURCES
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, TrainingSpec
from cl_core.training.follow import following
from cl_core.training.job import TrainingJob
from cl_core.training.progress import Progress
from tasks.adapters import ray_train
from tasks.artifacts import training_artifact
from tasks.attempts import count_attempt
from tasks.console import training_bar
from tasks.ingestion import training_cache
from tasks.settings import Settings
from tasks.step import STEP, say
from tasks.training_folder import LOCK, MADE_FROM, RESULT
from tasks.turns import alone


@task(name="preflight", **STEP)
def preflight(data: DataSpec, training: TrainingSpec, evaluation: EvaluationSpec) -> None:
    """Refuse wrong names and options, and a run that has died too often, before anything is read or trained."""
    count_attempt()
    SOURCES.build(data.source, data.source_options, field="data.source")
    check_image_size(training, image_size=data.image_size)
    protocols(evaluation)


@task(name="plan", **STEP)
def plan(snapshot: SnapshotRef, data: DataSpec, training: TrainingSpec, compute: ComputeSpec) -> TrainingJob:
    """Everything that the training, and what follows it, needs to know; refuses batches that cannot be."""
    facts = snapshot_facts(snapshot)
    check_batches(training, compute, train_rows=snapshot.rows["train"], classes=facts.per_class["train"])
    digest = training_digest(training, snapshot_digest=snapshot.digest, image_size=data.image_size)
    job = TrainingJob(
        digest=digest,
        snapshot=snapshot,
        data=data,
        training=complete(training),
        compute=compute,
        cache=training_cache(snapshot, data.image_size, compute),
        folder=Settings.from_environment().trainings / digest,
        mean=facts.mean,
        std=facts.std,
    )
    failpoints.reach("plan.made")
    return job


@task(name="pretrain", **STEP)
def pretrain(job: TrainingJob, *, force: bool) -> CheckpointRef:
    """Train the encoder, go on training it, or find that the trained one stands."""
    with alone(job.folder / LOCK, "pretrain", "which is at the same training; its result will be used"):
        failpoints.reach("pretrain.locked")
        standing = None if force else _standing(job.folder / RESULT)
        if standing is not None:
            return standing.model_copy(
                update={
                    "note": say(f"training {job.digest[:12]} stands: data, training spec and code have not changed")
                }
            )
        if force:
            job.checkpoints.clear()
            job.progress.clear()
        sealed.write_text(job.folder / MADE_FROM, json.dumps({"snapshot": job.snapshot.digest}) + "\n")
        with training_bar() as bar, training_artifact() as artifact:

            def show(progress: Progress) -> None:
                bar(progress)
                artifact(progress)

            with following(job.progress, show):
                checkpoint = ray_train.fit(job)
        failpoints.reach("pretrain.finished")
        sealed.write_text(job.folder / RESULT, checkpoint.model_dump_json(), failpoint="pretrain.result-staged")
        failpoints.reach("pretrain.result-written")
    begun = f"resumed at step {checkpoint.resumed_from_step}" if checkpoint.resumed_from_step else "from the start"
    note = say(f"training {job.digest[:12]} took {checkpoint.step} steps, {begun}, {checkpoint.seconds:.0f} s in all")
    return checkpoint.model_copy(update={"note": note})


def _standing(result: Path) -> CheckpointRef | None:
    """A finished training, if its final checkpoint is as it was written."""
    if not result.exists():
        return None
    checkpoint = CheckpointRef.model_validate_json(result.read_text())
    try:
        sealed.verify(checkpoint.path)
    except IntegrityError as error:
        say(f"the finished training cannot be used and is repeated from the last good checkpoint: {error}")
        return None
    return checkpoint
