"""What reading the data costs a training: an epoch's steps on the real cache against the same on one resident batch.

`python tests/benchmarks/feed.py infra/recipes/simclr-fashion.json ...` prints feed_efficiency for each recipe: the time
of steps whose rows lie in memory already, divided by that of steps that read them from the cache. The two alternate,
and the ratio of each round is what counts. Data are ingested into CL_HOME first, unless they are there.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cl_core.columns import Column, Columns
from cl_core.data.cache import build_cache, load_split
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.sampling import shuffled_batches
from cl_core.methods import StepInfo
from cl_core.specs import ComputeSpec, DataSpec, TrainingSpec
from cl_core.training.components import assemble, training_digest
from cl_core.training.feed import Feed
from cl_core.training.gradients import backward
from cl_core.training.job import TrainingJob
from cl_core.training.optimizer import build_optimizer
from tasks.runtime.settings import Settings


def job_of(recipe: Path, threads: int) -> TrainingJob:
    """Ingest and cache the data of a recipe, and return its training."""
    values, settings = json.loads(recipe.read_text()), Settings.from_environment()
    data = DataSpec.model_validate(values["data"])
    snapshot = ingest_source(data, datasets=settings.datasets).snapshot
    parts = assemble(TrainingSpec.model_validate(values["training"]))
    return TrainingJob(
        digest=training_digest(parts, snapshot_digest=snapshot.digest, modality=data.built_modality),
        snapshot=snapshot,
        data=data,
        parts=parts,
        compute=ComputeSpec(threads=threads),
        cache=build_cache(snapshot, data.built_modality, caches=settings.caches),
        folder=settings.trainings / "benchmark",
    )


def efficiencies(job: TrainingJob, *, rounds: int, steps: int) -> list[float]:
    """Return the ratio of each round: seconds on a resident batch divided by seconds on the cache."""
    split, spec = load_split(job.cache, "train"), job.training
    batches = shuffled_batches(seed=0, epoch=0, rows=len(split), batch_size=spec.batch_size)
    block = split.columns.take(np.sort(batches[0]))
    places = np.arange(len(split)) % spec.batch_size
    resident = Columns({name: Column(rows, places) for name, rows in zip(split.columns.by_name, block, strict=True)})
    processor = job.processor
    feeds = [
        Feed(replace(split, columns=columns), job, job.parts.views, processor, "cpu")
        for columns in (resident, split.columns)
    ]
    torch.manual_seed(spec.seed)
    method = job.parts.method.build(job.parts.encoder.build(job.view_shape), job.parts.loss).train()
    if spec.channels_last:
        method = method.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(method, spec)

    def seconds(feed: Feed, first: int) -> float:
        began = time.perf_counter()
        for number in range(first, first + steps):
            positions = np.sort(batches[number % len(batches)])
            optimizer.zero_grad(set_to_none=True)
            moment = StepInfo(step=number, steps=10**6)
            with torch.autocast("cpu", torch.bfloat16, enabled=spec.precision == "bf16"):
                samples = feed.samples(positions, moment=moment)
                backward(
                    method, lambda chosen: method.embed(feed.views(chosen, epoch=0)), [positions], samples, scale=1
                )
            method.after_backward(moment)
            optimizer.step()
            method.after_step(moment)
        return time.perf_counter() - began

    ratios = []
    for turn in range(rounds + 1):
        in_memory, from_cache = (seconds(feed, turn * steps) for feed in feeds)
        if turn:  # The first round warms up.
            ratios.append(in_memory / from_cache)
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    for recipe in chosen.recipes:
        found = efficiencies(job_of(recipe, chosen.threads), rounds=chosen.rounds, steps=chosen.steps)
        print(f"{recipe.stem:>28}  {statistics.median(found):.3f}  ({min(found):.3f} to {max(found):.3f})", flush=True)


if __name__ == "__main__":
    main()
