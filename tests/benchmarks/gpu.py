"""What a GPU trains: views, an epoch of SimCLR on images of CIFAR-10's shape, and InfoNCE; `make bench-gpu`.

One script for a machine that reaches no registry and has torch, torchvision, triton, numba and pyarrow. What else it
needs are the wheels named below. `python tests/benchmarks/gpu.py --collect build/gpu-wheels` downloads them, in the
versions of the lock file; `--wheels build/gpu-wheels` uses them there. `--cifar10 FOLDER`, with `train*.parquet` and
`test*.parquet`, also trains the recipe to its end and measures the classes of nearest neighbors.

Without a GPU it runs everything once, at a small size, on the CPU: to see that it works, not how fast.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
WHEELS = (
    "annotated-types",
    "cloudpickle",
    "joblib",
    "lightly",
    "lightning-utilities",
    "pillow",
    "psutil",
    "pydantic",
    "pydantic-core",
    "pyyaml",
    "safetensors",
    "scipy",
    "simplejpeg",
    "tqdm",
    "typing-extensions",
    "typing-inspection",
)
RECIPE = PROJECT / "infra" / "recipes" / "simclr-cifar10.json"
# Pairs of views a second and times lightly, on an H200; MiB and the share of the time of all pairs at once.
GOALS = {"pairs a second": 50_000, "times lightly": 15, "InfoNCE of 65,536 rows, MiB": 1536, "accuracy": 0.848}


def collect(folder: Path) -> None:
    """Download the wheels, each in the version of the lock file."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    subprocess.run([*command, "--constraint", str(PROJECT / "requirements.lock"), *WHEELS], check=True)


def use(wheels: Path, folder: str) -> None:
    """Install the wheels into a folder of this run, and look there for what the machine does not have."""
    files = [str(file) for file in sorted(wheels.glob("*.whl"))]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--root-user-action",
        "ignore",
        "--no-index",
        "--no-deps",
        "--target",
        folder,
    ]
    subprocess.run([*command, *files], check=True)
    sys.path.append(folder)


def median_rate(run: Callable[[], int], *, device: str, rounds: int) -> float:
    """Return units a second: the median of some rounds after one that warms up, each to the end of the GPU's work."""
    import torch

    rates = []
    for turn in range(rounds + 1):
        began = time.perf_counter()
        units = run()
        if device != "cpu":
            torch.cuda.synchronize()
        if turn:
            rates.append(units / (time.perf_counter() - began))
    return sorted(rates)[len(rates) // 2]


def print_views(device: str, *, rounds: int) -> None:
    """Print pairs of views a second: by torch and by the kernel on the GPU, by that of CPUs, and lightly on a core.

    The kernel's are compared with those of torch before anything is timed.
    """
    import torch
    from views import BLOCKS, apart, lightly, ours, pictures

    from cl_core import processes

    print("\n| two views | torch, GPU | kernel, GPU | kernel, CPUs | lightly, 1 core |\n|---|---|---|---|---|")
    for size, blur, count, others in BLOCKS if device != "cpu" else BLOCKS[:1]:
        images = pictures(count if device != "cpu" else 32, size)
        makers = ours(images, blur, device=device)
        own = [makers[name] for name in ("torch", "fused, GPU", "fused") if name in makers]
        for make in own[1:]:
            assert apart(make(), makers["torch"]()) <= 1e-4, f"{size} px: the kernel makes other views than torch"
        rates = [median_rate(partial(_counted, make, len(images)), device=device, rounds=rounds) for make in own]
        if len(own) == 2:  # Without a GPU, or without Triton.
            rates.insert(1, float("nan"))
        torch.set_num_threads(1)
        rates.append(median_rate(partial(_counted, lightly(images[:others], blur), others), device="cpu", rounds=1))
        torch.set_num_threads(processes.cpu_count())
        print(f"| {size} px{', blur' if blur else ''} | " + " | ".join(f"{rate:,.0f}" for rate in rates) + " |")


def _counted(make: Callable[[], object], pairs: int) -> int:
    make()
    return pairs


def print_epoch(device: str, *, rounds: int, loaders: int) -> None:
    """Print pairs a second of whole epochs, here and with lightly at its best on the same device."""
    import epoch

    from cl_core.specs import ViewsBackend

    block = epoch.Block("resnet18", 32, 3, 512, 97) if device != "cpu" else epoch.Block("resnet18", 32, 3, 8, 2)
    images = epoch.images_of(block)
    theirs = 0.0
    backends: tuple[ViewsBackend, ...] = ("torch", "fused")
    for backend in backends:
        with tempfile.TemporaryDirectory() as folder:
            on_gpu = device != "cpu"
            job = epoch.our_job(block, images, Path(folder), threads=loaders, on_gpu=on_gpu, backend=backend)
            own = median_rate(partial(epoch.here, job), device=device, rounds=rounds)
            if not theirs:
                peer = epoch.Lightly(block, images, job, best=True, device=device, loaders=loaders)
                theirs = median_rate(peer.epoch, device=device, rounds=1)
        times = f"{own / theirs:.1f} times lightly's {theirs:,.0f}"
        print(f"\n{block.title}, views by {backend}: {own:,.0f} pairs a second, {times}", flush=True)


def print_compiled(device: str, *, rounds: int) -> None:
    """Print images a second of encoders, forward and backward: as they are, by torch.compile, and with CUDA graphs.

    Says whether these pay; compiling is not counted.
    """
    import torch

    from cl_core.registry import ENCODERS

    print("\n| encoder, forward and backward | as it is | torch.compile | with CUDA graphs |\n|---|---|---|---|")
    batch, modes = (1024, ("default", "reduce-overhead")) if device != "cpu" else (8, ("default",))
    for name in ("resnet_small", "resnet18") if device != "cpu" else ("resnet_small",):
        options = ENCODERS.build(name, {}, field="training.encoder")
        encoder = options.build((3, 32, 32)).to(device, memory_format=torch.channels_last)
        images = torch.rand(batch, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)

        def both_ways(network: Callable[[Any], Any], images: Any = images) -> int:
            with torch.autocast(images.device.type, torch.bfloat16):
                features = network(images)
            features.float().square().mean().backward()
            return len(images)

        networks = [encoder, *(torch.compile(encoder, mode=mode, dynamic=False) for mode in modes)]
        rates = [median_rate(partial(both_ways, network), device=device, rounds=rounds) for network in networks]
        rates += [float("nan")] * (2 - len(modes))  # There are no CUDA graphs on a CPU.
        print(f"| {name} | " + " | ".join(f"{rate:,.0f}" for rate in rates) + " |", flush=True)


def print_loss(device: str) -> None:
    """Print time and peak memory of InfoNCE as the batch grows, by tiles and with all pairs at once."""
    import torch
    from loss import LOSSES, embeddings, run_once

    print("\n| InfoNCE, rows | all at once, ms | tiles, ms | all at once, MiB | tiles, MiB |\n|---|---|---|---|---|")
    for rows in (8192, 16_384, 32_768, 65_536) if device != "cpu" else (512,):
        given = embeddings(rows).to(device)
        milliseconds: dict[str, float] = {}
        mib: dict[str, float] = {}
        for name, loss in LOSSES.items():
            if device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated() if device != "cpu" else 0
            try:
                milliseconds[name] = 1000 / median_rate(partial(run_once, loss, given), device=device, rounds=3)
            except torch.cuda.OutOfMemoryError:
                milliseconds[name] = float("nan")
            mib[name] = (torch.cuda.max_memory_allocated() - held) / 2**20 if device != "cpu" else float("nan")
        names = ("all at once", "tiles")
        figures = [*(f"{milliseconds[name]:.1f}" for name in names), *(f"{mib[name]:,.0f}" for name in names)]
        print(f"| {rows:,} | " + " | ".join(figures) + " |", flush=True)


def print_recipe(folder: Path, *, device: str, threads: int, most_s: float) -> None:
    """Train the recipe of CIFAR-10 for at most so long; print its rate and, at its end, the accuracy of neighbors."""
    from jobs import prepared_job

    from cl_core.evaluation import representations
    from cl_core.evaluation.runner import assess
    from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, TrainingSpec
    from cl_core.training.loop import train

    recipe: dict[str, Any] = json.loads(RECIPE.read_text(encoding="utf-8"))
    data = DataSpec.model_validate({**recipe["data"], "location": str(folder)})
    training = recipe["training"] if device != "cpu" else {**recipe["training"], "epochs": 1, "warmup_epochs": 0.1}
    compute = ComputeSpec(threads=threads, gpus_per_worker=int(device != "cpu"), checkpoint_every_s=1e6)
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        job = prepared_job(data, TrainingSpec.model_validate(training), compute, home)
        began = time.monotonic()
        try:
            checkpoint = train(job, stop_requested=lambda: time.monotonic() - began > most_s)
        except KeyboardInterrupt:
            checkpoint = None
        last = job.progress.read()[-1]
        print(f"\n{RECIPE.stem}: {last.images_per_s:,.0f} pairs a second, epoch {last.epoch:.1f}, {last.seconds:.0f} s")
        if checkpoint is None:
            return
        trained = representations.trained(job, checkpoint.path)
        spec = EvaluationSpec(options=recipe["evaluation"]["options"])
        scores = assess(trained, spec, embeddings=home / "embeddings", evaluations=home / "evaluations").report.scores
        for name, score in scores.items():
            if name.endswith("accuracy"):
                print(f"{name}: {score.value:.4f} [{score.low:.4f}, {score.high:.4f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collect", type=Path, metavar="FOLDER", help="download the wheels into a folder, and end")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="use the wheels of a folder")
    parser.add_argument("--cifar10", type=Path, metavar="FOLDER", help="also train the recipe of CIFAR-10")
    parser.add_argument("--most-s", type=float, default=270, help="seconds of that training, at most")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="as without a GPU")
    chosen = parser.parse_args()
    if chosen.collect:
        collect(chosen.collect)
        return
    with tempfile.TemporaryDirectory() as installed:
        if chosen.wheels:
            use(chosen.wheels, installed)
        sys.path[:0] = [str(PROJECT), str(Path(__file__).parent)]
        import torch
        from rounds import this_machine

        from cl_core import processes

        device = "cuda" if torch.cuda.is_available() and not chosen.small else "cpu"
        threads = processes.cpu_count()
        print(f"{this_machine()}, {torch.cuda.get_device_name() if device != 'cpu' else 'no GPU: tiny sizes, once'}")
        rounds = chosen.rounds if device != "cpu" else 1
        print_views(device, rounds=rounds)
        print_epoch(device, rounds=rounds, loaders=threads)
        print_compiled(device, rounds=rounds)
        print_loss(device)
        if chosen.cifar10:
            print_recipe(chosen.cifar10, device=device, threads=threads, most_s=chosen.most_s)
        print("\nGoals: " + ", ".join(f"{name} {goal:,}" for name, goal in GOALS.items()))


if __name__ == "__main__":
    main()
