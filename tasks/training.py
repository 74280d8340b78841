"""Contrastive pretraining as a task."""

from functools import partial
from pathlib import Path

from filelock import FileLock
from prefect import task

from cl_core import sealed
from cl_core.assembly import check_batches, complete, training_digest
from cl_core.assessment import protocols
from cl_core.data.read import snapshot_facts
from cl_core.digest import digest_of
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
from tasks.starting import check_start_from, starting_weights
from tasks.step import STEP, say

_RESULT = "checkpoint.json"


@task(name="preflight", **STEP)
def preflight(data: DataSpec, training: TrainingSpec, evaluation: EvaluationSpec, model_name: str = "") -> None:
    """Refuse wrong names and options, and a run that has died too often, before anything is read or trained."""
    count_attempt()
    check_start_from(training, model_name)
    SOURCES.build(data.source, data.source_options, field="data.source")
    check_image_size(training, image_size=data.image_size)
    protocols(evaluation)


@task(name="plan", **STEP)
def plan(
    snapshot: SnapshotRef, data: DataSpec, training: TrainingSpec, compute: ComputeSpec, model_name: str = ""
) -> TrainingJob:
    """Everything that the training, and what follows it, needs to know; refuses batches that cannot be.

    The model's name is that whose champion the training may start from.
    """
    facts = snapshot_facts(snapshot)
    check_batches(training, compute, train_rows=snapshot.rows["train"], classes=facts.per_class["train"])
    digest_from = partial(training_digest, training, snapshot_digest=snapshot.digest, image_size=data.image_size)
    start = starting_weights(
        training,
        model_name=model_name,
        request=digest_of([model_name, digest_from()]),
        channels=snapshot.channels,
        image_size=data.image_size,
    )
    digest = digest_from(start_sha256=start.sha256 if start else "")
    return TrainingJob(
        digest=digest,
        snapshot=snapshot,
        data=data,
        training=complete(training),
        compute=compute,
        cache=training_cache(snapshot, data.image_size, compute),
        start=start,
        folder=Settings.from_environment().trainings / digest,
        mean=facts.mean,
        std=facts.std,
    )


@task(name="pretrain", **STEP)
def pretrain(job: TrainingJob, *, force: bool) -> CheckpointRef:
    """Train the encoder, go on training it, or find that the trained one stands."""
    with FileLock(_ready(job.folder) / "lock"):
        standing = None if force else _standing(job.folder / _RESULT)
        if standing is not None:
            return standing.model_copy(
                update={
                    "note": say(f"training {job.digest[:12]} stands: data, training spec and code have not changed")
                }
            )
        if force:
            job.checkpoints.clear()
        with training_bar() as bar, training_artifact() as artifact:

            def show(progress: Progress) -> None:
                bar(progress)
                artifact(progress)

            with following(job.progress, show):
                checkpoint = ray_train.fit(job)
        sealed.write_text(job.folder / _RESULT, checkpoint.model_dump_json())
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


def _ready(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
