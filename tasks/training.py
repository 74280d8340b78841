"""The training steps: refuse what cannot work, plan the job, and pretrain the encoder."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cl_core import artifact_dir
from cl_core.data.cache import cached_arrays, load_split, processor_state
from cl_core.data.snapshot import snapshot_profile
from cl_core.data.sources import built_source
from cl_core.errors import IntegrityError
from cl_core.failpoints import failpoint
from cl_core.hashing import digest_of
from cl_core.modalities import Modality
from cl_core.refs import CacheRef, CheckpointRef, SnapshotRef
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, TrainingSpec
from cl_core.training.progress import Progress, following
from tasks.initial_weights import check_start_from, find_initial_weights
from tasks.registered_data import check_registered_data
from tasks.runtime.artifacts import training_artifact
from tasks.runtime.console import bar_over
from tasks.runtime.inventory import LOCK, MADE_FROM, RESULT
from tasks.runtime.locks import exclusive
from tasks.runtime.settings import Settings
from tasks.runtime.step import log_nothing_lost, log_outcome, log_warning, metered_training, step

if TYPE_CHECKING:
    from cl_core.training.components import Parts
    from cl_core.training.job import TrainingJob


@step("preflight")
def preflight(
    data: DataSpec,
    training: TrainingSpec,
    evaluation: EvaluationSpec,
    compute: ComputeSpec,
    model_name: str = "",
    *,
    allow_new_data: bool = False,
) -> "Parts":
    """Refuse wrong names and options before anything is read or trained; return the components of the training."""
    from cl_core.evaluation.protocol_choice import protocols
    from cl_core.training.component_checks import check_views
    from cl_core.training.components import assemble
    from tasks.adapters.ray.resources import check_machine

    check_machine(compute)
    check_start_from(training, model_name)
    built_source(data, data.modality)
    parts = assemble(training, on_gpu=compute.gpus_per_worker > 0)
    check_views(parts, data.built_modality)
    protocols(evaluation)
    if not allow_new_data:
        check_registered_data(data, model_name)
    return parts


@step("plan")
def plan(
    snapshot: SnapshotRef,
    cached: CacheRef,
    data: DataSpec,
    training: "Parts",
    compute: ComputeSpec,
    model_name: str = "",
    *,
    allow_new_data: bool = False,
) -> "TrainingJob":
    """Collect everything that the training and the later steps need; refuse batches that cannot be filled.

    What the spec leaves open is chosen for the data here, and reported.

    Args:
        snapshot: What is trained on.
        cached: Its samples as they are trained on.
        data: What was asked of the data.
        training: Its components, assembled by `preflight`.
        compute: Workers, threads and GPUs.
        model_name: Registered model whose champion the training may start from.
        allow_new_data: Whether the model may have been trained on other data before.
    """
    from cl_core.training.component_checks import check_views
    from cl_core.training.components import training_digest
    from cl_core.training.job import TrainingJob
    from cl_core.training.left_open import BUDGET_STEPS, FEW_STEPS, fill_in
    from cl_core.training.preflight import TrainedOn, check_batches

    modality: Modality = data.built_modality
    arrays = cached_arrays(cached.path)
    if not allow_new_data:
        check_registered_data(data, model_name, arrays=arrays)
    fitted = processor_state(cached.path)
    if modality.known_arrays() is None:
        check_views(training, modality, modality.processor(arrays, fitted))
    facts = snapshot_profile(snapshot.path)
    share = training.spec.held_out_share
    of_groups = TrainedOn.of_groups(load_split(cached.path, "train"), snapshot.classes, share)
    if of_groups and snapshot.classes and share and of_groups.rows == snapshot.rows["train"]:
        log_warning(
            f"no group is as small as the held-out part, {share:g} of the training split, so there is no curve of "
            "nearest-neighbor accuracy; raise training.held_out_share, or set it to 0"
        )
    rows, classes = snapshot.rows["train"], facts.per_class["train"]
    notes, warnings = modality.fitted_notes(fitted)
    training, choices, steps = fill_in(training, train_rows=rows, classes=classes, of_groups=of_groups)
    check_batches(training, compute, train_rows=rows, classes=classes, of_groups=of_groups)
    for sentence in [*notes, *choices]:
        log_outcome(sentence)
    for sentence in warnings:
        log_warning(sentence)
    if steps < FEW_STEPS:
        log_warning(
            f"the training has {steps} steps, and with fewer than {FEW_STEPS} an encoder hardly learns; raise "
            f"training.epochs, or leave it out for about {BUDGET_STEPS:,} steps"
        )
    digest_from = partial(training_digest, training, snapshot_digest=snapshot.digest, modality=modality)
    weights = find_initial_weights(
        training,
        model_name=model_name,
        request=digest_of([model_name, digest_from()]),
        continued=lambda champion: modality.continued_processor(arrays, champion, fitted),
    )
    digest = digest_from(start_sha256=weights.sha256 if weights else "")
    job = TrainingJob(
        digest=digest,
        snapshot=snapshot,
        data=data,
        parts=training,
        compute=compute,
        cache=cached.path,
        initial_weights=weights,
        folder=Settings.from_environment().trainings / digest,
    )
    failpoint("plan.made")
    return job


@step("pretrain")
def pretrain(job: "TrainingJob", *, force: bool) -> CheckpointRef:
    """Train the encoder, or resume its training, unless the training is up to date."""
    from tasks.adapters.ray import trainer

    with exclusive(job.folder / LOCK, "pretrain", "which runs the same training; this run will use its result"):
        failpoint("pretrain.locked")
        finished = None if force else _finished(job.folder / RESULT)
        if finished is not None:
            log_outcome(
                f"training {job.digest[:12]} is up to date (data, spec and code unchanged); skipped", cached=True
            )
            return finished
        if force:
            job.checkpoints.clear()
            # Otherwise it would be counted as training that was lost.
            job.progress.clear()
        artifact_dir.write_text(job.folder / MADE_FROM, json.dumps({"snapshot": job.snapshot.digest}) + "\n")
        artifact = training_artifact()
        with bar_over("pretrain") as bar:

            def show(progress: Progress) -> None:
                figures = f"epoch {progress.epoch:.2f}, {progress.headline}, {progress.images_per_s:,.0f} samples/s"
                bar(progress.step, progress.steps, figures)
                artifact(progress)

            gpus = job.compute.workers * job.compute.gpus_per_worker
            with following(job.progress, show), metered_training(gpus, job.progress.repeated):
                try:
                    checkpoint = trainer.fit(job)
                except KeyboardInterrupt as stop:
                    if str(stop):  # It has written a checkpoint of the step it was at.
                        log_nothing_lost()
                        raise
                    raise KeyboardInterrupt(_lost_steps(job)) from stop
        failpoint("pretrain.finished")
        # Relative, because CL_HOME may be moved.
        stored = checkpoint.model_copy(update={"path": checkpoint.path.relative_to(job.folder)})
        artifact_dir.write_text(job.folder / RESULT, stored.model_dump_json())
        failpoint("pretrain.result-written")
    resumed = f"resumed at step {checkpoint.resumed_from_step}" if checkpoint.resumed_from_step else "from the start"
    log_outcome(
        f"training {job.digest[:12]} took {checkpoint.step} steps, {resumed}, {checkpoint.seconds:.0f} s in all"
    )
    return checkpoint


def _lost_steps(job: "TrainingJob") -> str:
    """Return what an interruption costs that left no checkpoint of its own."""
    checkpoint, progress = job.checkpoints.latest(), job.progress.read()
    saved = int(artifact_dir.manifest_of(checkpoint)["step"]) if checkpoint else 0
    lost = max(0, progress[-1].step - saved) if progress else 0
    return (
        f"interrupted; the last checkpoint is that of step {saved}, and at least {lost} later steps are lost, run the "
        "same command to resume"
    )


def _finished(result: Path) -> CheckpointRef | None:
    """Return the result of a finished training if its final checkpoint is undamaged."""
    if not result.exists():
        return None
    stored = CheckpointRef.model_validate_json(result.read_text(encoding="utf-8"))
    # Version 0.1.0 stored an absolute path.
    checkpoint = stored.model_copy(update={"path": result.parent.joinpath(*stored.path.parts[-2:])})
    try:
        artifact_dir.verify(checkpoint.path)
    except IntegrityError as error:
        log_outcome(f"the finished training is damaged; training again from the last good checkpoint: {error}")
        return None
    return checkpoint
