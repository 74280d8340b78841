"""What a training step costs beside its encoder's own forward and backward; run with `make bench`.

Contestants alternate in one process, and the ratio of each round is what counts: absolute times of a shared machine
do not. A step is all that the training loop does: views, networks, loss, backward and the optimizer.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from cl_core.columns import Column, Columns, SamplePool
from cl_core.methods import Samples
from cl_core.modalities._image_processor import ImageProcessor
from cl_core.rng import SampleRng
from cl_core.specs import TrainingSpec
from cl_core.training.components import assemble
from cl_core.training.gradients import backward
from cl_core.training.optimizer import build_optimizer
from cl_core.views import view_maker


def contestants(encoder: str, *, batch_size: int, size: int, channels: int) -> dict[str, Callable[[], None]]:
    """The encoder alone on a batch that lies ready, and whole steps of SimCLR with InfoNCE."""
    spec = TrainingSpec(encoder=encoder, batch_size=batch_size)
    parts = assemble(spec)
    torch.manual_seed(0)
    images = torch.randint(0, 256, (batch_size, size, size, channels), dtype=torch.uint8)
    rng = SampleRng(0, 0, np.arange(batch_size, dtype=np.uint64))
    processor = ImageProcessor((0.3,) * channels, (0.3,) * channels, size)
    pool = SamplePool(Columns({"image": Column(images.numpy())}))
    make = view_maker(parts.views, parts.spec.views_backend)
    method = parts.method.build(parts.encoder.build((channels, size, size)), parts.loss)
    method = method.to(memory_format=torch.channels_last).train()
    optimizer = build_optimizer(method, spec)

    def views() -> tuple[torch.Tensor, ...]:
        return make((images,), rng=rng, processor=processor, pool=pool)

    ready = torch.cat(views()).contiguous(memory_format=torch.channels_last)

    def alone() -> None:
        method.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            features = method.encoder(ready)
        features.float().sum().backward()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            backward(
                method,
                lambda chosen: method.embed(views()),
                [np.arange(batch_size)],
                Samples(torch.arange(batch_size)),
                scale=1.0,
            )
        optimizer.step()

    return {"encoder alone": alone, "training step": step, "views alone": lambda: views() and None}


def main() -> None:
    """Print the median of each contestant and of its ratio to the encoder alone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs="+", default=["resnet_small", "resnet18"])
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    for encoder in chosen.encoders:
        turns = contestants(encoder, batch_size=chosen.batch_size, size=28, channels=1)
        seconds: dict[str, list[float]] = {name: [] for name in turns}
        for turn in range(chosen.rounds + 1):
            for name, run in turns.items():
                began = time.perf_counter()
                run()
                if turn:  # The first round warms up.
                    seconds[name].append(time.perf_counter() - began)
        alone = seconds["encoder alone"]
        for name, taken in seconds.items():
            ratios = [mine / its for mine, its in zip(taken, alone, strict=True)]
            print(
                f"{encoder:>14}  {name:<14}  {1000 * statistics.median(taken):8.1f} ms  "
                f"{statistics.median(ratios):5.2f} x the encoder  ({min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
