"""A training that learns nothing is stopped and told why, by whichever worker and after whatever kill."""

import json
import multiprocessing
import signal
import types
from collections.abc import Callable
from pathlib import Path

import forked
import gloo
import pytest
import torch
import torch.nn.functional as F
from small_methods import changes
from small_training import JobOf, train_in_a_process
from torch import Tensor, nn

from cl_core import artifact_dir
from cl_core.errors import CollapseError
from cl_core.methods import Method, MethodOptions, Samples, Step
from cl_core.methods.moco_v2 import MoCoV2, MoCoV2Options
from cl_core.methods.simclr import SimCLROptions
from cl_core.specs import ComputeSpec
from cl_core.training.job import TrainingJob
from cl_core.training.loop import train

Change = Callable[[Method], None]

COMPUTE = ComputeSpec(threads=1, checkpoint_every_s=3600, report_every_s=3600)
# Batches of 64 of 320 samples, in 32 dimensions: four steps an epoch.
LARGER = {"batch_size": 64, "method_options": {"projector_hidden": 64, "projector_features": 32}}
LARGER_QUEUE = {
    **changes("moco_v2"),
    "method_options": {"projector_hidden": 64, "projector_features": 32, "queue_size": 28},
}
# The window is full after a hundred steps.
WITHIN = 200


def sabotage(monkeypatch: pytest.MonkeyPatch, options: type[MethodOptions], change: Change) -> None:
    """Have a method built as ever, and then broken."""
    build = options.build

    def broken(self: MethodOptions, *parts: object) -> Method:
        method = build(self, *parts)
        change(method)
        return method

    monkeypatch.setattr(options, "build", broken)


def stopped(job_of: JobOf, **fields: object) -> str:
    """What stopped a training, within two hundred steps."""
    with pytest.raises(CollapseError) as caught:
        train(job_of(compute=COMPUTE, **{**LARGER, "epochs": WITHIN // 4, **fields}))
    message = str(caught.value)
    assert int(message.removeprefix("stopped after step ").partition(":")[0]) <= WITHIN
    return message


def contrasting(loss_of: Callable[[Tensor, int], Tensor]) -> Change:
    """Put a loss of the (2 B, D) unit rows of B samples, view by view, in place of the method's own."""

    def contrast(self: Method, embedded: tuple[Tensor, ...], samples: Samples) -> Step:
        rows = torch.cat(embedded)
        return Step(loss_of(F.normalize(rows, dim=1), len(samples.ids)), rows.detach(), samples.ids.repeat(2))

    def change(method: Method) -> None:
        method.contrast = types.MethodType(contrast, method)  # type: ignore[method-assign]

    return change


def nt_xent(unit: Tensor, positives: Tensor, *, itself: bool = False) -> Tensor:
    """SimCLR's Eq. 1 with any rows called positives, and with the row itself among the candidates or not."""
    logits = unit @ unit.T / 0.2
    return F.cross_entropy(logits if itself else logits.fill_diagonal_(-torch.inf), positives)


def views_are_pulled_together(unit: Tensor, samples: int) -> Tensor:
    return (unit[:samples] - unit[samples:]).square().sum(1).mean()


def a_row_is_its_own_positive(unit: Tensor, samples: int) -> Tensor:
    return nt_xent(unit, torch.arange(2 * samples), itself=True)


def the_next_samples_view_is_the_positive(unit: Tensor, samples: int) -> Tensor:
    numbers = torch.arange(samples)
    return nt_xent(unit, torch.cat([samples + (numbers + 1) % samples, (numbers - 1) % samples]))


def views_are_taken_for_interleaved(unit: Tensor, samples: int) -> Tensor:
    """Rows are ordered a0 a1 ... b0 b1 ... and are taken for a0 b0 a1 b1 ...."""
    return nt_xent(unit, torch.arange(2 * samples) ^ 1)


@pytest.mark.integration
def test_views_pulled_together_without_negatives_are_a_collapse(job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Siamese network without negatives, stop-gradient or predictor."""
    sabotage(monkeypatch, SimCLROptions, contrasting(views_are_pulled_together))
    message = stopped(job_of)
    assert ": all embeddings are nearly equal: the standard deviation" in message
    assert "stop-gradient or predictor are missing. Lower training.learning_rate" in message


@pytest.mark.integration
def test_a_row_that_is_its_own_positive(job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The classic mask: nothing is found, and the loss falls as if all were well."""
    sabotage(monkeypatch, SimCLROptions, contrasting(a_row_is_its_own_positive))
    message = stopped(job_of)
    assert ": the loss has fallen to " in message
    assert "(4.844 when every embedding is the same), while positives have moved further apart" in message  # ln 127.
    assert "a row is among its own positives" in message


@pytest.mark.integration
@pytest.mark.parametrize("loss", [the_next_samples_view_is_the_positive, views_are_taken_for_interleaved])
def test_positives_from_wrong_rows(
    job_of: JobOf, monkeypatch: pytest.MonkeyPatch, loss: Callable[[Tensor, int], Tensor]
) -> None:
    sabotage(monkeypatch, SimCLROptions, contrasting(loss))
    message = stopped(job_of)
    assert "its value when every embedding is the same (4.844), and positives are no closer than at the" in message
    assert "positives come from wrong rows" in message


@pytest.mark.integration
def test_a_temperature_of_a_thousandth(job_of: JobOf) -> None:
    message = stopped(job_of, loss_options={"temperature": 0.001})
    assert "all embeddings are nearly equal" in message
    assert "a temperature of 0.1 to 0.5" in message


@pytest.mark.integration
def test_a_queue_of_rows_that_are_not_normalized(job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit queries against keys as long as they please."""

    def embed(self: MoCoV2, views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return F.normalize(self.projector(self.encoder(views[0])), dim=1), self.key_network(views[1])

    def contrast(self: MoCoV2, embedded: tuple[Tensor, ...], samples: Samples) -> Step:
        queries, keys = embedded
        self._to_enter.append((keys, samples.ids))
        own = (queries * keys).sum(1, keepdim=True)
        logits = torch.cat([own, queries @ self.queue.keys.T], dim=1) / 0.07
        loss = F.cross_entropy(logits, torch.zeros(len(queries), dtype=torch.int64))
        return Step(loss, torch.cat([queries, keys]).detach(), samples.ids.repeat(2))

    def change(method: Method) -> None:
        method.embed = types.MethodType(embed, method)  # type: ignore[method-assign]
        method.contrast = types.MethodType(contrast, method)  # type: ignore[method-assign]

    sabotage(monkeypatch, MoCoV2Options, change)
    assert "all embeddings are nearly equal" in stopped(job_of, **LARGER_QUEUE)


@pytest.mark.integration
def test_a_learning_rate_far_too_high(job_of: JobOf) -> None:
    """In a network without batch norm at its end; with it, SimCLR learns at a hundred times the rate."""
    message = stopped(job_of, **LARGER_QUEUE | {"learning_rate": 1.0})
    assert "all embeddings are nearly equal" in message
    assert "the learning rate is too high" in message


@pytest.mark.integration
def test_triplets_that_are_mined_too_hard(job_of: JobOf) -> None:
    """The loss comes down, to its margin: what Schroff et al. 2015 warn of, arXiv:1503.03832, Sec. 3.2."""
    hard = {**changes("facenet"), "loss_options": {"mining": "hard"}, "batch_size": 32, "epochs": WITHIN // 9}
    message = stopped(job_of, **hard)
    assert "all embeddings are nearly equal" in message
    assert "semi-hard mining" in message


@pytest.mark.slow_unit(reason="a collapse shows only in the hundredth step of a real training")
def test_a_dead_layer(job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(method: Method) -> None:
        for norm in method.encoder.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.constant_(norm.bias, -100)

    sabotage(monkeypatch, SimCLROptions, change)
    message = stopped(job_of)
    assert message.startswith("stopped after step 100: all embeddings are nearly equal")
    assert "at most 0 of 1 / sqrt(D)" in message
    assert "the loss stays at 4.844, its value when every embedding is the same (4.844)" in message


@pytest.mark.integration
@pytest.mark.parametrize("directions", [1, 2])
def test_embeddings_on_a_line_or_in_a_plane(job_of: JobOf, monkeypatch: pytest.MonkeyPatch, directions: int) -> None:
    """Dimensional collapse: a loss that is bounded, embeddings that are far apart, and 1 or 2 of 64 directions."""
    narrow = {"batch_size": 64, "method_options": {"projector_hidden": 64, "projector_features": 64}}

    def change(method: Method) -> None:
        assert isinstance(method.projector, nn.Sequential)
        method.projector.append(nn.Linear(64, directions, bias=False)).append(nn.Linear(directions, 64, bias=False))

    sabotage(monkeypatch, SimCLROptions, change)
    message = stopped(job_of, **narrow)
    used = float(
        message.partition(": dimensional collapse: embeddings use at most ")[2].partition(" of 63 directions; ")[0]
    )
    assert 0.9 * directions < used <= directions
    assert "a healthy training uses at least 2.24" in message


@pytest.mark.integration
def test_a_collapsed_training_leaves_no_result_and_collapses_again_where_it_did(
    job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checks of the window are in the checkpoint: what a kill leaves knows what was seen before it."""
    sabotage(monkeypatch, SimCLROptions, contrasting(a_row_is_its_own_positive))
    job = job_of(**{**LARGER, "epochs": WITHIN // 4})
    messages = []
    for _ in range(2):
        with pytest.raises(CollapseError) as caught:
            train(job)
        messages.append(str(caught.value))
        latest = job.checkpoints.latest()
        assert latest is not None
        assert artifact_dir.manifest_of(latest)["step"] == 99
        assert job.progress.read()[-1].step == 99
    assert messages[0] == messages[1]
    assert messages[0].startswith("stopped after step 100: ")


@pytest.mark.integration
def test_killed_in_the_middle_of_the_window_it_stops_at_the_same_step(job_of: JobOf) -> None:
    job = job_of(**LARGER_QUEUE | {"batch_size": 64, "epochs": WITHIN // 4, "learning_rate": 1.0})
    process = train_in_a_process(
        job,
        prelude="""
import os, signal
from cl_core.training.checkpoint import CheckpointStore
save = CheckpointStore.save
def killing(self, step, **state):
    path = save(self, step, **state)
    if step == 57: os.kill(os.getpid(), signal.SIGKILL)
    return path
CheckpointStore.save = killing
""",
    )
    assert process.wait() == -signal.SIGKILL
    with pytest.raises(CollapseError, match=r"^stopped after step 100: .* checks, since step 10, found this\. "):
        train(job)


def work(rank: int, rendezvous: Path, written: str, told: "multiprocessing.Queue[tuple[int, str]]") -> None:
    job = TrainingJob.model_validate_json(written)
    with gloo.process_group(rendezvous=rendezvous, rank=rank, world_size=2):
        try:
            train(job)
        except CollapseError as error:
            told.put((rank, str(error)))


@pytest.mark.integration
def test_two_workers_stop_together(job_of: JobOf, tmp_path: Path) -> None:
    two = ComputeSpec(workers=2, threads=2, checkpoint_every_s=3600, report_every_s=0)
    job = job_of(compute=two, **LARGER_QUEUE | {"batch_size": 64, "epochs": WITHIN // 4, "learning_rate": 1.0})
    context = forked.serve()
    told = context.Queue()
    arguments = (tmp_path / "rendezvous", job.model_dump_json(), told)
    workers = [context.Process(target=work, args=(rank, *arguments)) for rank in range(2)]
    for worker in workers:
        worker.start()
    messages = dict(told.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert messages[0].startswith("stopped after step 100: all embeddings are nearly equal")
    assert messages[1] == "stopped after step 100: worker 0 found a collapse; see its log"
    assert not list((job.folder / "checkpoints").glob("step-*"))
    assert json.loads((job.folder / "progress.jsonl").read_text().splitlines()[-1])["feature_std"] < 0.01
