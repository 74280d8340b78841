"""Contrastive pretraining as a task."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cl_core import artifact_dir
from cl_core.data.snapshot import snapshot_profile
from cl_core.errors import IntegrityError
from cl_core.failpoints import failpoint
from cl_core.hashing import digest_of
from cl_core.refs import CheckpointRef, SnapshotRef
from cl_core.registry import SOURCES
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, TrainingSpec
from cl_core.training.progress import Progress, following
from tasks.ingestion import training_cache
from tasks.initial_weights import check_start_from, starting_weights
from tasks.runtime.artifacts import training_artifact
from tasks.runtime.console import training_bar
from tasks.runtime.hooks import count_attempt
from tasks.runtime.inventory import LOCK, MADE_FROM, RESULT
from tasks.runtime.locks import exclusive
from tasks.runtime.settings import Settings
from tasks.runtime.step import holding_gpus, log_outcome, record_repeats, step

if TYPE_CHECKING:
    from cl_core.training.job import TrainingJob


@step("preflight")
def preflight(data: DataSpec, training: TrainingSpec, evaluation: EvaluationSpec, model_name: str = "") -> None:
    """Refuse wrong names and options, and a run that has died too often, before anything is read or trained."""
    from cl_core.evaluation.runner import protocols
    from cl_core.training.preflight import check_image_size

    count_attempt()
    check_start_from(training, model_name)
    SOURCES.build(data.source, data.source_options, field="data.source")
    check_image_size(training, image_size=data.image_size)
    protocols(evaluation)


@step("plan")
def plan(
    snapshot: SnapshotRef, data: DataSpec, training: TrainingSpec, compute: ComputeSpec, model_name: str = ""
) -> "TrainingJob":
    """Everything that the training, and what follows it, needs to know; refuses batches that cannot be.

    The model's name is that whose champion the training may start from.
    """
    from cl_core.training.components import complete, training_digest
    from cl_core.training.job import TrainingJob
    from cl_core.training.preflight import check_batches

    facts = snapshot_profile(snapshot)
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
    job = TrainingJob(
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
    failpoint("plan.made")
    return job


@step("pretrain")
def pretrain(job: "TrainingJob", *, force: bool) -> CheckpointRef:
    """Train the encoder, go on training it, or find that the trained one stands."""
    from tasks.adapters.ray import trainer

    with exclusive(job.folder / LOCK, "pretrain", "which is at the same training; its result will be used"):
        failpoint("pretrain.locked")
        standing = None if force else _standing(job.folder / RESULT)
        if standing is not None:
            note = f"training {job.digest[:12]} stands: data, training spec and code have not changed"
            return standing.model_copy(update={"note": log_outcome(note, stood=True)})
        if force:
            job.checkpoints.clear()
            # Not to be counted as training that was lost.
            job.progress.clear()
        artifact_dir.write_text(job.folder / MADE_FROM, json.dumps({"snapshot": job.snapshot.digest}) + "\n")
        with training_bar() as bar, training_artifact() as artifact:

            def show(progress: Progress) -> None:
                bar(progress)
                artifact(progress)

            gpus = job.compute.workers * job.compute.gpus_per_worker
            with following(job.progress, show), holding_gpus(gpus), _repeats_recorded(job):
                checkpoint = trainer.fit(job)
        failpoint("pretrain.finished")
        artifact_dir.write_text(job.folder / RESULT, checkpoint.model_dump_json())
        failpoint("pretrain.result-written")
    begun = f"resumed at step {checkpoint.resumed_from_step}" if checkpoint.resumed_from_step else "from the start"
    note = log_outcome(
        f"training {job.digest[:12]} took {checkpoint.step} steps, {begun}, {checkpoint.seconds:.0f} s in all"
    )
    return checkpoint.model_copy(update={"note": note})


@contextmanager
def _repeats_recorded(job: "TrainingJob") -> Iterator[None]:
    """Put what the body trains again, after a kill or a lost worker, into the account, however the body ends."""
    before = len(job.progress.repeated())
    try:
        yield
    finally:
        repeats = job.progress.repeated()[before:]
        record_repeats(sum(repeat.steps for repeat in repeats), sum(repeat.seconds for repeat in repeats))


def _standing(result: Path) -> CheckpointRef | None:
    """A finished training, if its final checkpoint is as it was written."""
    if not result.exists():
        return None
    checkpoint = CheckpointRef.model_validate_json(result.read_text())
    try:
        artifact_dir.verify(checkpoint.path)
    except IntegrityError as error:
        log_outcome(f"the finished training cannot be used and is repeated from the last good checkpoint: {error}")
        return None
    return checkpoint
