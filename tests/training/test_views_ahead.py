"""Views that are made ahead: the same bits in the same order, errors where they belong, and no thread left behind."""

import gc
import signal
import threading
import time
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import safetensors.torch
import torch
from small_training import JobOf, train_in_a_process
from torch import Tensor

from cl_core import processes
from cl_core.data.cache import load_split
from cl_core.refs import CheckpointRef
from cl_core.specs import ComputeSpec
from cl_core.training.feed import Feed
from cl_core.training.loop import train
from cl_core.training.views_ahead import ViewsAhead
from cl_core.views.simclr import SimCLRViews

QUIET = ComputeSpec(threads=1, checkpoint_every_s=3600, report_every_s=0)
REQUESTS = [(np.array([number, number + 1]), number // 3) for number in range(6)]


@pytest.fixture(params=[1, 64], ids=["no CPU free", "CPUs free"])
def cpus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many CPUs for a training with one thread."""
    monkeypatch.setattr(processes, "cpu_count", lambda: request.param)
    return int(request.param)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "views-ahead":
            thread.join(30)
            assert not thread.is_alive(), "a thread still makes views that are not used any more"


def weights(checkpoint: CheckpointRef) -> dict[str, bytes]:
    state = safetensors.torch.load_file(checkpoint.path / "method.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in state.items()}


def views_of(positions: np.ndarray, epoch: int) -> tuple[Tensor, ...]:
    return (torch.from_numpy(positions + 100 * epoch),)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"epochs": 2}, marks=pytest.mark.slow_unit(reason="two trainings of more than an epoch")),
        {"accumulate_steps": 2},
        pytest.param(
            {"sub_batch_size": 12},
            marks=pytest.mark.slow_unit(reason="two trainings that embed each of three sub-batches twice"),
        ),
        {"views_backend": "fused"},
        {"precision": "bf16"},
    ],
    ids=["two epochs", "accumulated batches", "sub-batches", "fused views", "bf16"],
)
@pytest.mark.usefixtures("compiled_views")
def test_a_training_has_the_same_bits_with_views_that_are_made_ahead(
    job_of: JobOf, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    ended = []
    for cpus in (1, 64):
        monkeypatch.setattr(processes, "cpu_count", lambda cpus=cpus: cpus)
        job = job_of(f"{cpus}-cpus", compute=QUIET, **{"epochs": 1, "warmup_epochs": 0, **changes})
        ended.append(weights(train(job)))
    assert ended[0] == ended[1]


@pytest.mark.slow_unit(reason="a training, and one that is stopped and resumed")
def test_a_training_that_is_resumed_within_an_epoch_on_a_machine_with_fewer_cpus_has_the_same_bits(
    job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = train(job_of("undisturbed", compute=QUIET, epochs=2))
    job, asked = job_of("stopped", compute=QUIET, epochs=2), iter(range(1, 99))
    monkeypatch.setattr(processes, "cpu_count", lambda: 64)
    with pytest.raises(KeyboardInterrupt, match="interrupted at step 13 of 18"):
        train(job, stop_requested=lambda: next(asked) == 13)
    monkeypatch.setattr(processes, "cpu_count", lambda: 1)
    resumed = train(job)
    assert resumed.resumed_from_step == 13
    assert weights(resumed) == weights(undisturbed)


@pytest.mark.usefixtures("cpus")
def test_an_error_of_the_views_is_raised_as_it_is_by_the_step_that_needs_them(
    job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, made = SimCLRViews.__call__, iter(range(1, 99))

    def failing(self: SimCLRViews, *rows: object, **given: object) -> object:
        if next(made) == 6:
            raise OSError(5, "the disk with the images is gone")
        return original(self, *rows, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(SimCLRViews, "__call__", failing)
    job = job_of(compute=QUIET)
    with pytest.raises(OSError, match="the disk with the images is gone") as caught:
        train(job)
    assert caught.traceback[-1].name == "failing"
    assert job.progress.read()[-1].step == 5


@pytest.mark.parametrize(
    ("free", "threads", "workers", "ahead"),
    [(2, 1, 1, True), (3, 2, 1, False), (4, 2, 1, True), (7, 4, 2, False), (8, 4, 2, True), (1, 1, 1, False)],
)
def test_views_are_made_ahead_where_as_many_cpus_are_free_as_the_training_has_threads(
    job_of: JobOf, monkeypatch: pytest.MonkeyPatch, free: int, threads: int, workers: int, ahead: bool
) -> None:
    monkeypatch.setattr(processes, "cpu_count", lambda: free)
    job = job_of(compute=ComputeSpec(threads=threads, workers=workers))
    feed = Feed(load_split(job.cache, "train"), job, job.parts.views, job.processor, "cpu")
    made = threading.Event()
    monkeypatch.setattr(Feed, "_make", lambda *_: made.set() or ())
    feed.expect(iter(REQUESTS))
    assert made.wait(30 if ahead else 0) == ahead


def test_while_views_are_used_the_next_are_made_and_no_more() -> None:
    made = [threading.Event() for _ in REQUESTS]

    def make(positions: np.ndarray, epoch: int) -> tuple[Tensor, ...]:
        made[int(positions[0])].set()
        return views_of(positions, epoch)

    ahead = ViewsAhead(make, REQUESTS, "cpu")
    for number, (positions, epoch) in enumerate(REQUESTS):
        (view,) = ahead.take(positions, epoch)
        assert view.tolist() == (positions + 100 * epoch).tolist()
        assert all(event.wait(30) for event in made[: number + 2])
        assert not any(event.is_set() for event in made[number + 2 :])


def test_nothing_of_a_feed_is_left_when_its_training_has_ended(job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory of views would be there for the evaluation, until Python looks for what refers to itself."""
    monkeypatch.setattr(processes, "cpu_count", lambda: 64)
    job = job_of(compute=QUIET)
    feed = Feed(load_split(job.cache, "train"), job, job.parts.views, job.processor, "cpu")
    feed.expect([(np.arange(4), 0)])
    feed.views(np.arange(4), epoch=0)
    gone = weakref.ref(feed)
    gc.disable()
    try:
        del feed
        assert gone() is None
    finally:
        gc.enable()


def test_what_is_asked_for_out_of_order_is_refused() -> None:
    ahead = ViewsAhead(views_of, REQUESTS, "cpu")
    with pytest.raises(AssertionError, match="in the order of the requests"):
        ahead.take(*REQUESTS[1])


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_training_whose_views_are_being_made(job_of: JobOf, number: signal.Signals) -> None:
    """A thread that waited for more to do would keep the process alive."""
    job = job_of(epochs=500)
    process = train_in_a_process(
        job,
        prelude="""
import signal
from cl_core import processes
processes.cpu_count = lambda: 64
signal.signal(signal.SIGTERM, signal.default_int_handler)
signal.signal(signal.SIGINT, signal.default_int_handler)
""",
    )
    deadline = time.monotonic() + 60
    while not job.progress.path.exists() or len(job.progress.read()) < 5:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(timeout=20)
    assert job.progress.read()[-1].step < 4500
