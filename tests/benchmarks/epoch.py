"""An epoch from cached images to weights, here and with lightly; `BLOCK=epoch make bench`.

Both train the same encoder with SimCLR's loss, on the same images for the same number of steps: here the training loop
with all that it does beside (order, views, health checks, progress, a checkpoint), there lightly's transform, heads and
loss in the loop of its documentation, fed by two loader processes from images that lie decoded in memory. lightly runs
at its defaults, and with channels-last and the precision that is fast on this machine. Before anything is timed, both
losses must be equal on the same embeddings, and views must have the same statistics.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jobs import prepared_job
from PIL import Image
from rounds import Contestant, end_if_void, measure, spread, this_machine
from torch import Tensor, nn
from views import pictures, statistics_of

from cl_core.columns import SamplePool
from cl_core.data.cache import load_split
from cl_core.losses import Relation, RowIds
from cl_core.losses.info_nce import InfoNCE
from cl_core.rng import SampleRng
from cl_core.specs import ComputeSpec, DataSpec, TrainingSpec, ViewsBackend
from cl_core.training.job import TrainingJob
from cl_core.training.loop import train
from cl_core.training.precision import fast_precision
from cl_core.views import view_maker

TEMPERATURE, LOADERS, RATE = 0.2, 2, 1e-3
BASE = "lightly"
FAST = fast_precision(on_gpu=False)


class Block(NamedTuple):
    """What is trained on what. Images fill whole batches, so that all contestants take the same steps."""

    encoder: str
    size: int
    channels: int
    batch_size: int
    steps: int

    @property
    def title(self) -> str:
        color = "color" if self.channels == 3 else "grayscale"
        return f"{self.encoder}, {self.size} px {color}, {self.steps} steps of {self.batch_size}"


BLOCKS = {
    "small": Block("resnet_small", 28, 1, 256, 10),
    "resnet18": Block("resnet18", 32, 3, 64, 2),
    "large": Block("resnet18", 224, 3, 16, 2),
}
_TINY = Block("resnet_small", 28, 1, 16, 2)


def images_of(block: Block) -> np.ndarray:
    """Return (N, size, size, channels) uint8, as many as the steps take."""
    return pictures(block.batch_size * block.steps, block.size)[..., : block.channels]


def our_job(
    block: Block,
    images: np.ndarray,
    folder: Path,
    *,
    threads: int,
    on_gpu: bool = False,
    backend: ViewsBackend = "auto",
) -> TrainingJob:
    """Ingest the images, and cache them as a retraining does."""
    source = folder / "images" / "train"
    source.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image.squeeze()).save(source / f"{number:05d}.png", compress_level=1)
    data = DataSpec(name="images", source="image_folder", location=str(folder / "images"), image_size=block.size)
    training = TrainingSpec(
        encoder=block.encoder,
        epochs=1,
        batch_size=block.batch_size,
        warmup_epochs=0.1,
        learning_rate=RATE,
        views_options={"blur_probability": 0.5 if block.size > 32 else 0.0},
        loss="info_nce",
        loss_options={"temperature": TEMPERATURE},
        views="simclr",
        views_backend=backend,
        held_out_share=0,
    )
    return prepared_job(data, training, ComputeSpec(threads=threads, gpus_per_worker=int(on_gpu)), folder)


def here(job: TrainingJob) -> int:
    """Train an epoch in a folder of its own; return how many pairs of views that were."""
    with tempfile.TemporaryDirectory() as folder:
        done = train(job.model_copy(update={"folder": Path(folder)}))
    return done.step * job.training.batch_size


class Lightly:
    """SimCLR as lightly's documentation trains it, on decoded images."""

    def __init__(
        self,
        block: Block,
        images: np.ndarray,
        job: TrainingJob,
        *,
        best: bool,
        device: str = "cpu",
        loaders: int = LOADERS,
    ) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead
        from lightly.transforms import SimCLRTransform

        normalize = {name: list(getattr(job.processor, name).flatten().tolist()) for name in ("mean", "std")}
        self.transform = SimCLRTransform(
            input_size=block.size,
            cj_strength=0.5,
            gaussian_blur=job.training.views_options["blur_probability"],
            normalize=normalize,
        )
        self.images = [Image.fromarray(image.squeeze()) for image in images]
        self.batch_size, self.best, self.device, self.loaders = block.batch_size, best, device, loaders
        self.half = best and fast_precision(on_gpu=device != "cpu") == "bf16"
        torch.manual_seed(0)
        encoder = job.parts.encoder.build(job.view_shape)
        self.encoder = encoder
        options = job.training.method_options
        head = SimCLRProjectionHead(encoder.features, options["projector_hidden"], options["projector_features"])
        self.model: nn.Module = nn.Sequential(encoder, head).train()
        self.model = self.model.to(device, memory_format=torch.channels_last if best else torch.preserve_format)
        self.loss = NTXentLoss(temperature=TEMPERATURE)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=RATE)

    def batches(self) -> Iterator[list[Tensor]]:
        """Yield both views of each batch, from the loader's processes."""
        yield from torch.utils.data.DataLoader(
            _Transformed(self.images, self.transform),
            batch_size=self.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=self.loaders,
            pin_memory=self.device != "cpu",
        )

    def epoch(self) -> int:
        """Train an epoch; return how many pairs of views that were."""
        pairs = 0
        for views in self.batches():
            layout = torch.channels_last if self.best else torch.preserve_format
            views = [view.to(self.device, non_blocking=True, memory_format=layout) for view in views]
            with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
                rows = [self.model(view) for view in views]
            loss = self.loss(*(row.float() for row in rows))
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            pairs += len(views[0])
        return pairs


class _Transformed(torch.utils.data.Dataset[Any]):
    def __init__(self, images: list[Image.Image], transform: Callable[[Image.Image], list[Tensor]]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> list[Tensor]:
        return self.transform(self.images[position])


def check(block: Block, job: TrainingJob, peer: Lightly) -> None:
    """Refuse to compare what does not do the same."""
    rows = torch.randn(2 * 64, 32, generator=torch.Generator().manual_seed(0))
    samples = torch.arange(64).repeat(2)
    ids = RowIds(samples, torch.arange(2).repeat_interleave(64), samples)
    ours = InfoNCE(temperature=TEMPERATURE).compute(rows, rows, Relation(ids, ids), {}).mean
    torch.testing.assert_close(ours, peer.loss(rows[:64], rows[64:]), rtol=1e-5, atol=0)

    split = load_split(job.cache, "train")
    assert len(split) == len(peer.images) == block.steps * block.batch_size
    make, pool = view_maker(job.parts.views, job.training.views_backend), SamplePool(split.columns)
    chosen = np.arange(min(len(split), 256))
    rng = SampleRng(0, 0, split.sample_ids[chosen])
    mine = statistics_of(list(make(pool.batch(chosen), rng=rng, processor=job.processor, pool=pool)))
    torch.manual_seed(0)
    theirs = statistics_of([view for image in peer.images[:256] for view in peer.transform(image)])
    for value, of_ours, tolerance in zip(theirs, mine, (0.15, 0.1, 0.15 * mine[2]), strict=True):
        assert abs(value - of_ours) < tolerance, f"{block.title}: views of lightly have {theirs}, ours {mine}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", nargs="+", choices=BLOCKS, default=list(BLOCKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="one round of two steps, to see that everything runs")
    chosen = parser.parse_args()
    print(this_machine())
    races = []
    for block in [_TINY] if chosen.small else [BLOCKS[name] for name in chosen.blocks]:
        images = images_of(block)
        with tempfile.TemporaryDirectory() as folder:
            job = our_job(block, images, Path(folder), threads=chosen.threads)
            plain, best = (Lightly(block, images, job, best=best) for best in (False, True))
            if not chosen.small:  # Of a few images, statistics say little.
                check(block, job, plain)
            contestants = {
                f"here, {job.training.precision}": Contestant(lambda: here(job), chosen.threads),  # noqa: B023
                BASE: Contestant(plain.epoch, chosen.threads),
                f"lightly, {FAST} and channels-last": Contestant(best.epoch, chosen.threads),
            }
            measured = measure(contestants, rounds=1 if chosen.small else chosen.rounds, title=block.title)
        print(f"\n{block.title}\n\n| | pairs a second | times {BASE} |\n|---|---|---|")
        for name in contestants:
            ratios = spread(measured.against(name, BASE), "{:.2f}")
            print(f"| {name} | {statistics.median(measured.rates[name]):,.1f} | {ratios} |", flush=True)
        races.append(measured)
    end_if_void(*races, small=chosen.small)


if __name__ == "__main__":
    main()
