"""What a worker is fed: partners from the training split, and the same samples whoever shares them."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from small_training import JobOf, train_in_a_process
from torch import Tensor

from cl_core.columns import Batch, SamplePool
from cl_core.data.cache import load_split
from cl_core.modalities._image_processor import ImageProcessor
from cl_core.registry import VIEWS
from cl_core.rng import SampleRng, uniforms
from cl_core.specs import ComputeSpec
from cl_core.training.feed import Feed
from cl_core.training.job import TrainingJob
from cl_core.training.loop import train
from cl_core.views import ImageViews


class Partners(ImageViews):
    """Two views that are the sums of a sample's five partners each, and nothing of the sample."""

    @property
    def count(self) -> int:
        return 2

    def __call__(
        self, rows: Batch, *, rng: SampleRng, processor: ImageProcessor, pool: SamplePool
    ) -> tuple[Tensor, ...]:
        (images,), (partners,) = rows, pool.partners(rng, count=10)
        assert partners.shape == (10, *images.shape)
        return tuple(of_view.sum(0, dtype=torch.float32).movedim(-1, 1) for of_view in partners.split(5))


@pytest.fixture
def feed_of(job_of: JobOf) -> Callable[[ImageViews], Feed]:
    job = job_of(seed=3)
    return lambda policy: Feed(load_split(job.cache, "train"), job, policy, job.processor, "cpu")


def test_partners_are_the_training_samples_at_their_positions(feed_of: Callable[[ImageViews], Feed]) -> None:
    feed = feed_of(Partners())
    positions = np.array([7, 200, 31])
    made = feed.views(positions, epoch=4)
    images = torch.from_numpy(feed.split.column.take(slice(None))).float()
    draws = uniforms(seed=3, epoch=4, sample_ids=feed.split.sample_ids[positions], stream=1 << 15, count=20)
    wanted = ((draws[:, ::2] + draws[:, 1::2] / 2**24).T * len(images)).astype(int)
    for view in (0, 1):
        expected = images[wanted[5 * view : 5 * (view + 1)]].sum(0).movedim(-1, 1)
        assert made[view].equal(expected)


def test_what_a_sample_becomes_depends_on_seed_epoch_and_sample_alone(feed_of: Callable[[ImageViews], Feed]) -> None:
    feed = feed_of(VIEWS.build("dacl_mixup", {}, field="training.views"))
    positions = np.array([7, 200, 31, 5, 90])
    whole = feed.views(positions, epoch=0)
    for part in ([0], [1, 4], [4, 3, 2]):
        for view, of_whole in zip(feed.views(positions[part], epoch=0), whole, strict=True):
            assert view.equal(of_whole[part])
    assert not feed.views(positions, epoch=1)[0].equal(whole[0])


def test_a_policy_that_mixes_nothing_gets_no_partners(feed_of: Callable[[ImageViews], Feed]) -> None:
    feed = feed_of(VIEWS.build("dacl_mixup", {"without": ["mixup"]}, field="training.views"))
    first, second = feed.views(np.array([7, 200]), epoch=0)
    images = torch.from_numpy(feed.split.column.take(np.array([7, 200]))).permute(0, 3, 1, 2) / 255
    mean, std = (getattr(feed.job.processor, name) for name in ("mean", "std"))
    assert first.equal(second)
    torch.testing.assert_close(first, (images - mean) / std, rtol=0, atol=1e-5)


@pytest.fixture
def in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def worker(rank: int, *, job: TrainingJob, stop_at: int, log: Path, cpus: int) -> str:
    """Lines that make a process one of two workers, let it log what it is fed, and stop it before a step."""
    return f"""
import atexit, gloo, json, pathlib, torch
from cl_core import processes
from cl_core.training import feed, loop
processes.cpu_count = lambda: {cpus}
torch.set_default_dtype(torch.float64)
world = gloo.process_group(rendezvous=pathlib.Path({str(job.folder / "rendezvous")!r}), rank={rank}, world_size=2)
world.__enter__()
# A group that outlives the interpreter aborts the process: its threads still run.
atexit.register(world.__exit__, None, None, None)
original, rate, log = feed.Feed.views, loop.learning_rate, open({str(log)!r}, "w")
def views(self, positions, *, epoch):
    print(json.dumps([epoch, positions.tolist()]), file=log, flush=True)
    return original(self, positions, epoch=epoch)
def learning_rate(step, **schedule):
    if step == {stop_at}: raise SystemExit
    return rate(step, **schedule)
feed.Feed.views, loop.learning_rate = views, learning_rate
"""


@pytest.mark.integration
@pytest.mark.parametrize("cpus", [2, 64], ids=["no CPU free", "views made ahead"])
@pytest.mark.usefixtures("in_float64")
def test_a_training_begun_by_two_workers_and_finished_by_one_sees_the_same_samples_and_learns_the_same(
    job_of: JobOf, monkeypatch: pytest.MonkeyPatch, cpus: int
) -> None:
    """With batch norm over all workers and sub-batches that all workers embed together; stopped within an epoch."""
    changes = {"epochs": 2, "sub_batch_size": 12, "optimizer": "sgd", "learning_rate": 0.1}
    fed: list[tuple[int, list[int]]] = []
    original = Feed.views

    def watching(self: Feed, positions: NDArray[np.int64], *, epoch: int) -> tuple[Tensor, ...]:
        fed.append((epoch, positions.tolist()))
        return original(self, positions, epoch=epoch)

    monkeypatch.setattr(Feed, "views", watching)
    undisturbed = train(job_of("alone", **changes))
    alone = fed.copy()
    fed.clear()

    stop_at = 12
    job = job_of("shared", compute=ComputeSpec(workers=2, threads=2, checkpoint_every_s=1e-9), **changes)
    logs = [job.folder / f"fed-{rank}" for rank in (0, 1)]
    preludes = [worker(rank, job=job, stop_at=stop_at, log=logs[rank], cpus=cpus) for rank in (0, 1)]
    workers = [train_in_a_process(job, prelude) for prelude in preludes]
    assert [process.wait() for process in workers] == [0, 0]
    finished = train(job.model_copy(update={"compute": ComputeSpec(threads=1)}))

    assert finished.resumed_from_step == stop_at
    shared = [map(json.loads, log.read_text().splitlines()) for log in logs]
    begun = [(first[0], sorted(first[1] + second[1])) for first, second in zip(*shared, strict=True)]
    # Three sub-batches a step, embedded twice.
    assert len(begun) == 6 * stop_at and len(alone) == 6 * undisturbed.step
    assert begun + fed == alone
    for epoch in range(2):
        visited = Counter(position for of, part in alone if of == epoch for position in part)
        assert set(visited.values()) == {2} and len(visited) == 32 * undisturbed.step // 2

    expected = safetensors.torch.load_file(undisturbed.path / "method.safetensors")
    for name, weight in safetensors.torch.load_file(finished.path / "method.safetensors").items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-10, msg=name)
