"""The training loop. Reads from top to bottom like the algorithm; every worker runs it."""

import contextlib
import logging
import math
import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim.optimizer import Optimizer

from cl_core import distributed, sealed
from cl_core.assembly import assemble
from cl_core.data.cache import ImageSplit, load_split
from cl_core.digest import digest_of
from cl_core.errors import NotFiniteLossError
from cl_core.methods import Batch, Method
from cl_core.refs import CheckpointRef
from cl_core.seeding import permutation
from cl_core.training import checkpoint
from cl_core.training.job import TrainingJob
from cl_core.training.monitors import health
from cl_core.training.optimizer import build_optimizer
from cl_core.training.progress import Progress
from cl_core.training.schedule import learning_rate
from cl_core.views import ImageViews

logger = logging.getLogger(__name__)

# Reading a loss from a GPU waits for it; on a CPU it is free.
_FINITE_CHECK_STEPS = {"cpu": 1}
_FINITE_CHECK_STEPS_DEFAULT = 50


def train(job: TrainingJob) -> CheckpointRef:
    """Train, or go on training from the last good checkpoint, to the end.

    Every worker of the process group calls this with the same job. Worker 0 writes checkpoints and progress.

    Raises:
        NotFiniteLossError: On every worker, when the loss becomes NaN or infinite.
        StorageFullError: When a checkpoint cannot be written; the one before it stands.
    """
    spec = job.training
    workers, rank = distributed.world_size(), distributed.rank()

    # --- the parts, the same on every worker
    torch.set_num_threads(job.compute.threads // workers)
    device = "cuda" if job.compute.gpus_per_worker else "cpu"
    parts = assemble(spec)
    torch.manual_seed(spec.seed)
    encoder = parts.encoder.build(channels=job.snapshot.channels, size=job.data.image_size)
    method = parts.method.build(encoder, parts.loss).to(device)
    if spec.channels_last:
        method = method.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(method, spec)

    # --- the data and how long it takes
    split = load_split(job.cache, "train")
    step_samples = spec.batch_size * spec.accumulate_steps
    steps_per_epoch = len(split.images) // step_samples
    total_steps = spec.epochs * steps_per_epoch
    warmup_steps = round(spec.warmup_epochs * steps_per_epoch)

    # --- where it was
    start, spent = _restore(job, method, optimizer)
    module = distributed.data_parallel(method)
    method.train()

    # --- the steps
    began = last_report = last_checkpoint = time.monotonic()
    reported_step = start
    order, rate = np.empty(0, dtype=np.int64), spec.learning_rate
    for step in range(start, total_steps):
        epoch, step_in_epoch = divmod(step, steps_per_epoch)
        if step_in_epoch == 0 or step == start:
            order = permutation(seed=spec.seed, epoch=epoch, size=len(split.images))
        rate = learning_rate(step, peak=spec.learning_rate, warmup_steps=warmup_steps, total_steps=total_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        _seed_this_step(spec.seed, step, rank)

        optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=device)
        for part in range(spec.accumulate_steps):
            first = step_in_epoch * step_samples + part * spec.batch_size
            positions = order[first : first + spec.batch_size]
            share = np.array_split(positions, workers)[rank]
            batch = _batch(split, share, job, parts.views, epoch=epoch, device=device)
            last = part == spec.accumulate_steps - 1
            with _without_averaging(module, off=not last):
                with torch.autocast(device, torch.bfloat16, enabled=spec.precision == "bf16"):
                    result = module(batch)
                (result.loss / spec.accumulate_steps).backward()
            loss += result.loss.detach() / spec.accumulate_steps
        optimizer.step()
        method.after_step()

        # --- the whole batch's loss: finite on every worker or on none
        loss = distributed.average(loss)
        if step % _FINITE_CHECK_STEPS.get(device, _FINITE_CHECK_STEPS_DEFAULT) == 0 and not math.isfinite(loss):
            raise _not_finite(f"the loss became {loss.item()} at step {step + 1}", rate)

        # --- what worker 0 tells and keeps
        done, now = step + 1, time.monotonic()
        if rank != 0:
            continue
        if now - last_report >= job.compute.report_every_s or done == total_steps or done == start + 1:
            seconds = max(now - last_report, 1e-9)
            figures = health(result.embeddings, views=parts.views.count)
            job.progress.append(
                Progress(
                    step=done,
                    steps=total_steps,
                    epoch=done / steps_per_epoch,
                    loss=loss.item(),
                    learning_rate=rate,
                    images_per_s=(done - reported_step) * step_samples / seconds,
                    seconds=spent + now - began,
                    seconds_left=(total_steps - done) * (now - began) / (done - start),
                    **figures._asdict(),
                )
            )
            last_report, reported_step = now, done
        # Weights that are no longer finite are not kept: the next loss, or the end, stops the training.
        if (now - last_checkpoint >= job.compute.checkpoint_every_s or done == total_steps) and _is_finite(method):
            facts = {"training_digest": job.digest, "workers": workers, "seconds": spent + now - began}
            job.checkpoints.save(done, method=method, optimizer=optimizer, facts=facts)
            last_checkpoint = time.monotonic()

    if not _is_finite(method):
        raise _not_finite("the weights are no longer finite after the last step", rate)
    distributed.barrier()
    final = job.checkpoints.latest()
    assert final is not None, "the last step writes a checkpoint"
    return CheckpointRef(
        digest=job.digest,
        path=final,
        step=total_steps,
        snapshot_digest=job.snapshot.digest,
        resumed_from_step=start,
        seconds=spent + time.monotonic() - began,
    )


def _restore(job: TrainingJob, method: Method, optimizer: Optimizer) -> tuple[int, float]:
    """Load the last good checkpoint, if there is one: steps taken, and seconds spent on them.

    Worker 0 looks and tells the others, so that all go on from the same step.
    """
    found = job.checkpoints.latest() if distributed.rank() == 0 else None
    step = 0 if found is None else int(sealed.manifest_of(found)["step"])
    step = int(distributed.all_reduce_sum(torch.tensor(step)))
    spent = 0.0
    if step:
        path = job.checkpoints.at(step)
        checkpoint.load(path, method=method, optimizer=optimizer)
        spent = float(sealed.manifest_of(path)["seconds"])
        logger.info("going on from step %d", step)
    if distributed.rank() == 0:
        job.progress.rewind(step)
    return step, spent


def _batch(
    split: ImageSplit, positions: NDArray[np.int64], job: TrainingJob, views: ImageViews, *, epoch: int, device: str
) -> Batch:
    """One worker's share of a batch, its views made on the device."""
    # Sorted inside the share: which samples meet is decided by the order, where they stand in the batch is not.
    positions = np.sort(positions)
    sample_ids = split.sample_ids[positions]
    made = views(
        torch.from_numpy(split.images[positions]).to(device, non_blocking=True),
        sample_ids=sample_ids,
        seed=job.training.seed,
        epoch=epoch,
        size=job.data.image_size,
        normalization=job.normalization,
    )
    layout = torch.channels_last if job.training.channels_last else torch.contiguous_format
    return Batch(
        views=tuple(view.contiguous(memory_format=layout) for view in made),
        sample_ids=torch.from_numpy(sample_ids.astype(np.int64)).to(device),
        labels=None if split.labels is None else torch.from_numpy(split.labels[positions]).to(device),
    )


def _seed_this_step(seed: int, step: int, rank: int) -> None:
    """What draws from torch's own generator (dropout, say) depends on the step, so that no state needs saving."""
    torch.manual_seed(int(digest_of([seed, step, rank])[:15], 16))


def _is_finite(method: Method) -> bool:
    return all(bool(torch.isfinite(t).all()) for t in method.state_dict().values() if t.is_floating_point())


def _not_finite(what: str, rate: float) -> NotFiniteLossError:
    return NotFiniteLossError(
        f"{what} (learning rate {rate:g}); earlier checkpoints stand. Lower training.learning_rate, lengthen "
        "training.warmup_epochs, or set training.precision to fp32"
    )


@contextlib.contextmanager
def _without_averaging(module: nn.Module, *, off: bool) -> Iterator[None]:
    """Keep workers' gradients apart while batches accumulate; they are averaged with the last."""
    if off and isinstance(module, nn.parallel.DistributedDataParallel):
        with module.no_sync():
            yield
    else:
        yield
