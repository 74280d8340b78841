"""The training loop. It reads from top to bottom like the algorithm; every worker runs it."""

import logging
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.optimizer import Optimizer

from cl_core import artifact_dir
from cl_core.data.cache import load_split
from cl_core.data.sampling import hold_out
from cl_core.errors import NotFiniteLossError
from cl_core.failpoints import failpoint
from cl_core.methods import Method, StepInfo
from cl_core.parallel import collectives
from cl_core.parallel.sync_batch_norm import synchronized
from cl_core.refs import CheckpointRef
from cl_core.training import checkpoint
from cl_core.training.feed import Feed
from cl_core.training.gradients import backward
from cl_core.training.health.detector import CollapseWatch
from cl_core.training.job import TrainingJob
from cl_core.training.online_knn import OnlineKnn
from cl_core.training.optimizer import build_optimizer
from cl_core.training.order import StepOrder
from cl_core.training.progress import Progress, forget_peak, peak_bytes
from cl_core.training.schedule import learning_rate
from cl_core.training.warm_start import load_initial_weights

logger = logging.getLogger(__name__)

# Reading a loss from a GPU waits for it; on a CPU it is free.
_FINITE_CHECK_STEPS = {"cpu": 1, "cuda": 50}


def train(job: TrainingJob, *, stop_requested: Callable[[], bool] = lambda: False) -> CheckpointRef:
    """Train to the end, resuming from the last intact checkpoint.

    Every worker of the process group calls this with the same job. Worker 0 writes checkpoints and progress.

    Args:
        job: The training.
        stop_requested: Asked after each step of worker 0, which then ends with a checkpoint of that step; other workers
            wait for it.

    Raises:
        KeyboardInterrupt: In worker 0 when a stop was requested; its message says what is kept.
        NotFiniteLossError: On every worker, when the loss becomes NaN or infinite.
        CollapseError: On every worker, when nothing is learned.
        StorageFullError: When a checkpoint cannot be written; the previous one is kept.
    """
    forget_peak()
    spec = job.training
    workers, rank = collectives.world_size(), collectives.rank()

    # --- the parts, the same on every worker
    torch.set_num_threads(job.compute.threads // workers)
    device = "cuda" if job.compute.gpus_per_worker else "cpu"
    parts = job.parts
    torch.manual_seed(spec.seed)
    encoder = parts.encoder.build_for(job.processor)
    if job.initial_weights is not None:  # Before the method is built, which may copy the encoder.
        load_initial_weights(encoder, job.initial_weights.path)
    method = parts.method.build(encoder, parts.loss).to(device)
    if spec.channels_last:
        method = method.to(memory_format=torch.channels_last)
    synchronized(method)
    optimizer = build_optimizer(method, spec)

    # --- the data and how long it takes
    trained, held_out = hold_out(load_split(job.cache, "train"), spec.held_out_share)
    processor = job.processor.to(device)
    feed = Feed(trained, job, parts.views, processor, device)
    knn = OnlineKnn(held_out, trained, job, processor, device) if held_out else None
    order = StepOrder(spec, parts.method, trained)
    steps_per_epoch = order.steps_per_epoch
    assert spec.epochs is not None, "the plan of a training completes its spec"
    total_steps = spec.epochs * steps_per_epoch
    warmup_steps = round(spec.warmup_epochs * steps_per_epoch)

    # --- where it was, and what has been seen of it
    start, spent, checks = _restore(job, method, optimizer)
    trivial_losses = method.trivial_losses(spec.batch_size) if rank == 0 else {}
    feed.expect(order.embedded(range(start, total_steps)))
    watch = CollapseWatch(steps=total_steps, warmup_steps=warmup_steps, trivial_losses=trivial_losses, checks=checks)
    method.train()
    failpoint("pretrain.restored")

    # --- the steps
    began = last_report = last_checkpoint = time.monotonic()
    reported_step = start
    step_samples = spec.batch_size * spec.accumulate_steps
    rate = spec.learning_rate
    for step in range(start, total_steps):
        epoch = order.epoch_of(step)
        moment = StepInfo(epoch=epoch, step=step, steps=total_steps)
        rate = learning_rate(step, peak=spec.learning_rate, warmup_steps=warmup_steps, total_steps=total_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate

        optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=device)
        for shares in order.shares(step):

            def embed(chosen: NDArray[np.int64], epoch: int = epoch) -> tuple[Tensor, ...]:
                return method.embed(feed.views(chosen, epoch=epoch))

            with torch.autocast(device, torch.bfloat16, enabled=spec.precision == "bf16"):
                samples = feed.samples(np.concatenate(shares), moment=moment)
                result = backward(method, embed, shares, samples, scale=1 / spec.accumulate_steps)
            loss += result.loss.detach() / spec.accumulate_steps
        collectives.average_gradients(method.parameters())
        method.after_backward(moment)
        optimizer.step()
        method.after_step(moment)
        failpoint("pretrain.step-taken")

        # --- the whole batch's loss: finite on every worker or on none
        done = step + 1
        loss = collectives.average(loss)
        looked_at = step % _FINITE_CHECK_STEPS[device] == 0 or watch.is_due(done)
        if looked_at and not math.isfinite(loss):
            raise _not_finite(f"the loss became {loss.item()} at step {done}", rate)

        # --- whether it learns: all workers continue, or none
        if watch.is_due(done):
            watch.look(done, loss, result, samples=sum(map(len, shares)))
        score_due = done % (job.compute.knn_every_epochs * steps_per_epoch) == 0 or done == total_steps
        score = knn.accuracy(method.encoder) if knn and score_due and _is_finite(method) else None

        # --- what worker 0 reports and saves
        now = time.monotonic()
        if rank != 0:
            continue
        report_due = score is not None or done in (start + 1, total_steps)
        if report_due or now - last_report >= job.compute.report_every_s:
            seconds = max(now - last_report, 1e-9)
            job.progress.append(
                Progress(
                    step=done,
                    steps=total_steps,
                    epoch=done / steps_per_epoch,
                    loss=loss.item(),
                    knn_accuracy=score,
                    learning_rate=rate,
                    images_per_s=(done - reported_step) * step_samples / seconds,
                    seconds=spent + now - began,
                    seconds_left=(total_steps - done) * (now - began) / (done - start),
                    **watch.latest.figures,
                )
            )
            last_report, reported_step = now, done
            failpoint("pretrain.step-logged")
        # Weights that are no longer finite are not kept: the next loss, or the end, stops the training.
        stopping = stop_requested() and done < total_steps
        save_due = now - last_checkpoint >= job.compute.checkpoint_every_s or stopping or done == total_steps
        is_saved = save_due and _is_finite(method)
        if is_saved:
            facts = {"training_digest": job.digest, "workers": workers, "seconds": spent + now - began}
            facts |= {"checks": watch.state()}
            job.checkpoints.save(done, method=method, optimizer=optimizer, facts=facts)
            last_checkpoint = time.monotonic()
        if stopping:
            raise KeyboardInterrupt(_stopped(done, total_steps) if is_saved else "")

    if not _is_finite(method):
        raise _not_finite("the weights are no longer finite after the last step", rate)
    collectives.barrier()
    final = job.checkpoints.latest()
    assert final is not None, "the last step writes a checkpoint"
    return CheckpointRef(
        digest=job.digest,
        path=final,
        step=total_steps,
        snapshot_digest=job.snapshot.digest,
        resumed_from_step=start,
        seconds=spent + time.monotonic() - began,
        peak_bytes=peak_bytes(),
    )


def _restore(job: TrainingJob, method: Method, optimizer: Optimizer) -> tuple[int, float, list[Any]]:
    """Load the last intact checkpoint, if any: return steps taken, seconds spent on them, and health checks.

    Worker 0 looks and informs the others, so that all resume from the same step.
    """
    latest = job.checkpoints.latest() if collectives.rank() == 0 else None
    step = 0 if latest is None else int(artifact_dir.manifest_of(latest)["step"])
    step = int(collectives.all_reduce_sum(torch.tensor(step)))
    spent, checks = 0.0, []
    if step:
        facts = checkpoint.load(job.checkpoints.at(step), method=method, optimizer=optimizer)
        spent, checks = float(facts["seconds"]), facts["checks"]
        logger.info("resuming from step %d", step)
    if collectives.rank() == 0:
        job.progress.rewind(step, seconds=spent)
    return step, spent, checks


def _is_finite(method: Method) -> bool:
    return all(bool(torch.isfinite(t).all()) for t in method.state_dict().values() if t.is_floating_point())


def _stopped(step: int, steps: int) -> str:
    return (
        f"interrupted at step {step} of {steps}; its checkpoint is written and no step is lost, run the same command "
        "to resume"
    )


def _not_finite(what: str, rate: float) -> NotFiniteLossError:
    return NotFiniteLossError(
        f"{what} (learning rate {rate:g}); earlier checkpoints are kept. Lower training.learning_rate, lengthen "
        "training.warmup_epochs, or set training.precision to fp32"
    )
