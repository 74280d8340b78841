"""What a training step costs beside its encoder, and what the encoder reaches of the rate of a matrix product.

Run with `make bench`; `--operations` prints where an encoder's time goes. Contestants alternate in one process, and the
ratio of each round is what counts: absolute times of a shared machine do not. A step is all that the training loop
does: views, networks, loss, backward and the optimizer. The precision is what `auto` takes here. Rates are of CPU
seconds, which other programs on the machine disturb little: of a core, whatever the threads.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from rounds import spread, this_machine
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from cl_core.columns import Column, Columns, SamplePool
from cl_core.methods import Samples
from cl_core.modalities._image_processor import ImageProcessor
from cl_core.rng import SampleRng
from cl_core.specs import TrainingSpec
from cl_core.training.components import assemble
from cl_core.training.gradients import backward
from cl_core.training.optimizer import build_optimizer
from cl_core.views import view_maker

_SIDE = 2048  # Of the product's matrices.
# (C, S): the demo's images for the small encoder, CIFAR-10's for the others.
_IMAGES = {"resnet_small": (1, 28)}
_OTHER_IMAGES = (3, 32)
# What the operations of torch's profiler are counted as; the first part that a name holds decides.
_KINDS = {
    "convolution_backward": "convolutions, backward",
    "convolution": "convolutions, forward",
    "batch_norm_backward": "batch norm, backward",
    "batch_norm": "batch norm, forward",
    "threshold_backward": "ReLU, backward",
    "clamp": "ReLU, forward",
    "add": "sums",
}


class Encoding(NamedTuple):
    """An encoder at work, and how many floating point operations its forward and backward are."""

    contestants: dict[str, Callable[[], object]]
    flops: int


def encoding(encoder: str, *, batch_size: int) -> Encoding:
    """The encoder alone on a batch that lies ready, and whole steps of SimCLR with InfoNCE."""
    channels, size = _IMAGES.get(encoder, _OTHER_IMAGES)
    parts = assemble(TrainingSpec(encoder=encoder, batch_size=batch_size))
    spec = parts.spec
    torch.manual_seed(0)
    images = torch.randint(0, 256, (batch_size, size, size, channels), dtype=torch.uint8)
    rng = SampleRng(0, 0, np.arange(batch_size, dtype=np.uint64))
    processor = ImageProcessor((0.3,) * channels, (0.3,) * channels, size)
    pool = SamplePool(Columns({"image": Column(images.numpy())}))
    make = view_maker(parts.views, spec.views_backend)
    method = parts.method.build(parts.encoder.build((channels, size, size)), parts.loss)
    method = method.to(memory_format=torch.channels_last).train()
    optimizer = build_optimizer(method, spec)

    def views() -> tuple[torch.Tensor, ...]:
        return make((images,), rng=rng, processor=processor, pool=pool)

    ready = torch.cat(views()).contiguous(memory_format=torch.channels_last)

    def alone() -> None:
        method.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=spec.precision == "bf16"):
            features = method.encoder(ready)
        features.float().sum().backward()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=spec.precision == "bf16"):
            backward(
                method,
                lambda chosen: method.embed(views()),
                [np.arange(batch_size)],
                Samples(torch.arange(batch_size)),
                scale=1.0,
            )
        optimizer.step()

    with FlopCounterMode(display=False) as counter:
        alone()
    return Encoding({"encoder alone": alone, "training step": step, "views alone": views}, counter.get_total_flops())


def product(precision: str) -> Callable[[], object]:
    """A product of two matrices."""
    left, right = torch.rand(2, _SIDE, _SIDE).to(torch.bfloat16 if precision == "bf16" else torch.float32)
    return lambda: left @ right


def print_operations(run: Callable[[], object]) -> None:
    """Print the share of each kind of operation in the CPU time of a call."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()
    taken: dict[str, float] = defaultdict(float)
    for event in profiled.key_averages():
        kind = next((kind for part, kind in _KINDS.items() if part in event.key), "other")
        taken[kind] += event.self_cpu_time_total
    for kind, microseconds in sorted(taken.items(), key=lambda item: -item[1]):
        print(f"{'':>14}  {kind:<24}  {microseconds / sum(taken.values()):5.0%}")


def main() -> None:
    """Print each contestant's median time, its ratio to the encoder alone, and the encoder's rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs="+", default=["resnet_small", "resnet18"])
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--operations", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    precision = assemble(TrainingSpec()).spec.precision
    print(f"{this_machine()}, {precision}")
    for encoder in chosen.encoders:
        work = encoding(encoder, batch_size=chosen.batch_size)
        turns = {"product": product(precision), **work.contestants}
        wall: dict[str, list[float]] = {name: [] for name in turns}
        cpu: dict[str, list[float]] = {name: [] for name in turns}
        for turn in range(chosen.rounds + 1):
            for name, run in turns.items():
                began, cpu_began = time.perf_counter(), time.process_time()
                run()
                if turn:  # The first round warms up.
                    wall[name].append(time.perf_counter() - began)
                    cpu[name].append(time.process_time() - cpu_began)
        for name in work.contestants:
            ratios = [mine / its for mine, its in zip(cpu[name], cpu["encoder alone"], strict=True)]
            print(
                f"{encoder:>14}  {name:<14}  {1000 * statistics.median(wall[name]):8.1f} ms  "
                f"{1000 * statistics.median(cpu[name]):8.1f} CPU ms  {spread(ratios, '{:.2f}')} x the encoder"
            )
        rates = (
            [2e-9 * _SIDE**3 / seconds for seconds in cpu["product"]],
            [1e-9 * work.flops / seconds for seconds in cpu["encoder alone"]],
        )
        shares = [mine / whole for whole, mine in zip(*rates, strict=True)]
        print(
            f"{encoder:>14}  {statistics.median(rates[1]):.0f} of {statistics.median(rates[0]):.0f} GFLOP/s of a core: "
            f"{spread(shares, '{:.2f}')} of a product's"
        )
        if chosen.operations:
            print_operations(work.contestants["encoder alone"])


if __name__ == "__main__":
    main()
