"""Neighbors while training: right, never of samples that were trained on, and without a trace in the weights."""

import multiprocessing
import signal
from pathlib import Path

import forked
import gloo
import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.neighbors import KNeighborsClassifier
from small_training import JobOf, train_in_a_process

from cl_core import artifact_dir
from cl_core.columns import Batch, SamplePool
from cl_core.data.cache import load_split
from cl_core.data.sampling import hold_out
from cl_core.encoders import Encoder
from cl_core.evaluation.features import extract
from cl_core.specs import ComputeSpec
from cl_core.training import online_knn
from cl_core.training.components import assemble
from cl_core.training.feed import Feed
from cl_core.training.job import TrainingJob
from cl_core.training.loop import train
from cl_core.training.online_knn import OnlineKnn

# 29 of 291 labeled samples are held out, and 262 trained on.
HELD_OUT = {"held_out_share": 0.1}


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(checkpoint / "method.safetensors")


def encoder_of(job: TrainingJob) -> Encoder:
    torch.manual_seed(3)
    return assemble(job.training).encoder.build(job.view_shape).train()


def knn_of(job: TrainingJob) -> OnlineKnn:
    trained, held_out = hold_out(load_split(job.cache, "train"), job.training.held_out_share)
    assert held_out is not None
    return OnlineKnn(held_out, trained, job, job.processor, "cpu")


def test_the_accuracy_is_that_of_another_librarys_neighbors(job_of: JobOf) -> None:
    job = job_of(**HELD_OUT)
    knn, encoder = knn_of(job), encoder_of(job)
    bank, asked = (
        extract(
            encoder,
            split.columns.take(slice(None)),
            processor=job.processor,
            batch_size=7,
            device="cpu",
            precision="fp32",
            channels_last=False,
        ).astype(np.float64)
        for split in (knn.trained, knn.held_out)
    )
    theirs = KNeighborsClassifier(
        20, metric="cosine", algorithm="brute", weights=lambda distances: np.exp((1 - distances) / 0.1)
    ).fit(bank, knn.trained.labels)
    assert knn.accuracy(encoder) == pytest.approx(theirs.score(asked, knn.held_out.labels), abs=1e-12)
    assert len(asked) == 29


def test_of_a_large_split_the_least_hashes_answer(job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(**HELD_OUT)
    knn, encoder = knn_of(job), encoder_of(job)
    monkeypatch.setattr(online_knn, "_LEAST_BANK", 40)
    trained = knn.trained
    assert trained.labels is not None
    first = trained.select(slice(40))
    fewer = OnlineKnn(knn.held_out, first, job, job.processor, "cpu")
    assert knn.accuracy(encoder) == fewer.accuracy(encoder)
    # However large the split is, no more rows are held in memory.
    monkeypatch.setattr(online_knn, "_LEAST_BANK", 4096)
    monkeypatch.setattr(online_knn, "_LARGEST_BANK", 40)
    assert knn.accuracy(encoder) == fewer.accuracy(encoder)


def test_held_out_samples_are_asked_in_blocks(job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(**HELD_OUT)
    knn, encoder = knn_of(job), encoder_of(job)
    at_once = knn.accuracy(encoder)
    monkeypatch.setattr(online_knn, "_SAMPLES_AT_ONCE", 7)
    assert knn.accuracy(encoder) == at_once


def test_encoder_and_random_state_are_the_same_afterwards(job_of: JobOf) -> None:
    job = job_of(**HELD_OUT)
    knn, encoder = knn_of(job), encoder_of(job)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    random = torch.get_rng_state()
    knn.accuracy(encoder)
    assert all(module.training for module in encoder.modules())
    assert all(value.equal(before[name]) for name, value in encoder.state_dict().items())
    assert torch.get_rng_state().equal(random)


def test_what_is_held_out_is_never_trained_on_and_all_else_once_an_epoch(
    job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(**HELD_OUT, batch_size=131, epochs=2)
    seen: list[np.ndarray] = []
    original = Feed.views

    def watching(self: Feed, positions: np.ndarray, *, epoch: int) -> object:
        seen.append(self.split.sample_ids[positions])
        return original(self, positions, epoch=epoch)

    monkeypatch.setattr(Feed, "views", watching)
    train(job)
    everyone = set(load_split(job.cache, "train").sample_ids.tolist())
    held_out = set(knn_of(job).held_out.sample_ids.tolist())
    assert len(everyone) == 291 and len(held_out) == 29
    for epoch in range(2):
        visited = np.concatenate(seen[2 * epoch : 2 * epoch + 2]).tolist()
        assert sorted(visited) == sorted(everyone - held_out)


def test_samples_are_mixed_with_none_that_are_held_out(job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(**HELD_OUT, method="dacl", method_options={"projector_hidden": 16, "projector_features": 8}, epochs=1)
    shown: list[np.ndarray] = []
    original = SamplePool.batch

    def watching(self: SamplePool, positions: np.ndarray) -> Batch:
        (column,) = self.columns.by_name.values()
        assert column.positions is not None
        shown.append(column.positions[positions].ravel())
        return original(self, positions)

    monkeypatch.setattr(SamplePool, "batch", watching)
    train(job)
    held_out = knn_of(job).held_out.column.positions
    assert held_out is not None
    assert not set(np.concatenate(shown).tolist()) & set(held_out.tolist())
    # Two mixed views, each with at least one partner, beside the samples themselves.
    assert sum(map(len, shown)) >= 3 * 8 * 32


@pytest.mark.integration
def test_it_is_reported_at_the_end_of_each_configured_epoch_and_of_the_training(job_of: JobOf) -> None:
    job = job_of(**HELD_OUT, epochs=5, compute=ComputeSpec(threads=1, report_every_s=0, knn_every_epochs=2))
    train(job)
    told = {line.step: line.knn_accuracy for line in job.progress.read() if line.knn_accuracy is not None}
    assert list(told) == [16, 32, 40]  # Eight batches of 32 an epoch.
    assert all(29 * accuracy == pytest.approx(round(29 * accuracy)) for accuracy in told.values())
    assert max(told.values()) > 1 / 4  # One of four classes.
    rarely = job_of("rarely", **HELD_OUT, epochs=5, compute=ComputeSpec(threads=1, report_every_s=3600))
    train(rarely)
    assert [line.step for line in rarely.progress.read()] == [1, 8, 16, 24, 32, 40]


@pytest.mark.integration
def test_how_often_it_is_computed_changes_no_bit_of_the_weights(job_of: JobOf) -> None:
    often, never = (
        train(job_of(name, **HELD_OUT, compute=ComputeSpec(threads=1, knn_every_epochs=every)))
        for name, every in (("often", 1), ("never", 1000))
    )
    first, second = weights(often.path), weights(never.path)
    assert [name for name in first if not first[name].equal(second[name])] == []


@pytest.mark.integration
def test_killed_between_two_scores_weights_and_scores_are_those_of_an_uninterrupted_training(job_of: JobOf) -> None:
    undisturbed_job = job_of("undisturbed", **HELD_OUT)
    undisturbed = train(undisturbed_job)
    job = job_of("killed", **HELD_OUT)
    process = train_in_a_process(
        job,
        prelude="""
import os, signal
from cl_core.training.checkpoint import CheckpointStore
save = CheckpointStore.save
def killing(self, step, **state):
    path = save(self, step, **state)
    if step == 11: os.kill(os.getpid(), signal.SIGKILL)
    return path
CheckpointStore.save = killing
""",
    )
    assert process.wait() == -signal.SIGKILL
    resumed = train(job)
    assert resumed.resumed_from_step == 11
    first, second = weights(undisturbed.path), weights(resumed.path)
    assert [name for name in first if not first[name].equal(second[name])] == []
    figures = ("step", "loss", "accuracy", "effective_rank", "knn_accuracy")
    told, again = (
        [tuple(getattr(line, name) for name in figures) for line in each.progress.read()]
        for each in (undisturbed_job, job)
    )
    assert told == again
    assert artifact_dir.manifest_of(resumed.path)["checks"] == artifact_dir.manifest_of(undisturbed.path)["checks"]


def work(rank: int, rendezvous: Path, written: str, told: "multiprocessing.Queue[float]") -> None:
    torch.set_num_threads(1)
    job = TrainingJob.model_validate_json(written)
    with gloo.process_group(rendezvous=rendezvous, rank=rank, world_size=2):
        told.put(knn_of(job).accuracy(encoder_of(job)))


@pytest.mark.integration
def test_two_workers_share_the_work_and_find_the_same(job_of: JobOf, tmp_path: Path) -> None:
    job = job_of(**HELD_OUT)
    context = forked.serve()
    told = context.Queue()
    arguments = (tmp_path / "rendezvous", job.model_dump_json(), told)
    workers = [context.Process(target=work, args=(rank, *arguments)) for rank in range(2)]
    for worker in workers:
        worker.start()
    found = [told.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert found == [knn_of(job).accuracy(encoder_of(job))] * 2
