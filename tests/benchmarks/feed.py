"""What feeding costs a training: its steps against the same steps on views that lie in memory already.

`python tests/benchmarks/feed.py infra/recipes/simclr-fashion.json ...` prints for each recipe, and for ResNet-18 on
images of 32 pixels,

- feed efficiency: the time of steps on views in memory, divided by that of steps that make their views, ahead where
  the training would;
- the same of CPU seconds, which other programs on the machine disturb little; it does not see what is made ahead;
- reading: the time of steps on rows in memory, divided by that of steps on the cache; both make their views.

All alternate, and the ratio of each round is what counts. Data are ingested into CL_HOME first, unless they are there.
"""

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jobs import prepared_job
from numpy.typing import NDArray
from rounds import spread, this_machine
from torch import Tensor

from cl_core.columns import Column, Columns
from cl_core.data.cache import load_split
from cl_core.data.sampling import shuffled_batches
from cl_core.methods import StepInfo
from cl_core.specs import ComputeSpec, DataSpec, TrainingSpec
from cl_core.training.feed import Feed
from cl_core.training.gradients import backward
from cl_core.training.job import TrainingJob
from cl_core.training.optimizer import build_optimizer
from tasks.runtime.settings import Settings

# CIFAR-10's shape, made here: what is measured does not depend on what the images show.
RESNET18: dict[str, Any] = {
    "data": {"name": "shapes-32", "source": "synthetic", "source_options": {"count": 1200, "size": 32}},
    "training": {"encoder": "resnet18", "batch_size": 64, "views_options": {"blur_probability": 0.0}},
}
Views = tuple[Tensor, ...]


def job_of(values: Mapping[str, Any], threads: int) -> TrainingJob:
    """Ingest and cache the data of a recipe, and return its training."""
    data, training = DataSpec.model_validate(values["data"]), TrainingSpec.model_validate(values["training"])
    return prepared_job(data, training, ComputeSpec(threads=threads), Settings.from_environment().home)


def efficiencies(job: TrainingJob, *, rounds: int, steps: int) -> dict[str, list[float]]:
    """Return the ratios of each round, by what they say."""
    split, spec = load_split(job.cache, "train"), job.training
    batches = shuffled_batches(seed=0, epoch=0, rows=len(split), batch_size=spec.batch_size)
    block = split.columns.take(np.sort(batches[0]))
    places = np.arange(len(split)) % spec.batch_size
    resident = Columns({name: Column(rows, places) for name, rows in zip(split.columns.by_name, block, strict=True)})
    processor = job.processor
    from_memory, from_cache = (
        Feed(replace(split, columns=columns), job, job.parts.views, processor, "cpu")
        for columns in (resident, split.columns)
    )
    ready = from_cache.views(np.sort(batches[0]), epoch=0)
    torch.manual_seed(spec.seed)
    method = job.parts.method.build(job.parts.encoder.build_for(job.processor), job.parts.loss).train()
    if spec.channels_last:
        method = method.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(method, spec)

    def seconds(feed: Feed, first: int, views: Views | None = None) -> NDArray[np.float64]:
        """Return wall-clock and CPU seconds of some steps, on these views or on those that the feed makes."""
        began, cpu_began = time.perf_counter(), time.process_time()
        taken = [np.sort(batches[number % len(batches)]) for number in range(first, first + steps)]
        if views is None:
            feed.expect((positions, 0) for positions in taken)
        for number, positions in enumerate(taken, start=first):
            optimizer.zero_grad(set_to_none=True)
            moment = StepInfo(step=number, steps=10**6)

            def embed(chosen: NDArray[np.int64]) -> Views:
                return method.embed(feed.views(chosen, epoch=0) if views is None else views)

            with torch.autocast("cpu", torch.bfloat16, enabled=spec.precision == "bf16"):
                backward(method, embed, [positions], feed.samples(positions, moment=moment), scale=1)
            method.after_backward(moment)
            optimizer.step()
            method.after_step(moment)
        return np.array([time.perf_counter() - began, time.process_time() - cpu_began])

    ratios: dict[str, list[float]] = {"feed efficiency": [], "of CPU seconds": [], "reading": []}
    for turn in range(rounds + 1):
        first = turn * steps
        alone, memory, cache = (
            seconds(from_cache, first, ready),
            seconds(from_memory, first),
            seconds(from_cache, first),
        )
        if turn:  # The first round warms up.
            values = (*(alone / cache), memory[0] / cache[0])
            for of_name, value in zip(ratios.values(), values, strict=True):
                of_name.append(float(value))
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    print(this_machine())
    for name, values in [
        *((recipe.stem, json.loads(recipe.read_text())) for recipe in chosen.recipes),
        ("ResNet-18, 32 px", RESNET18),
    ]:
        found = efficiencies(job_of(values, chosen.threads), rounds=chosen.rounds, steps=chosen.steps)
        print(
            f"{name:>28}  " + "  ".join(f"{of}: {spread(ratios, '{:.3f}')}" for of, ratios in found.items()), flush=True
        )


if __name__ == "__main__":
    main()
