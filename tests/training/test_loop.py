"""The training loop: what it learns, tells, refuses, and how it splits an epoch."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from small_methods import changes
from small_training import JobOf

from cl_core.errors import NotFiniteLossError, StorageFullError
from cl_core.rng import permutation
from cl_core.specs import ComputeSpec
from cl_core.training import loop
from cl_core.training.feed import Feed
from cl_core.training.loop import train
from cl_core.training.progress import following

# But the last one: of a training whose resuming is not tested.
NO_CHECKPOINTS = ComputeSpec(threads=1, checkpoint_every_s=3600, report_every_s=0)


@pytest.mark.integration
def test_training_learns_to_find_the_other_view(job_of: JobOf) -> None:
    easy = {"crop_area_min": 0.5, "blur_probability": 0.0, "jitter_probability": 0.0}
    job = job_of(epochs=12, views_options=easy, encoder_options={"stem_width": 16, "width": 32, "stages": 2})
    train(job)
    lines = job.progress.read()
    chance = math.log(2 * 32 - 1)
    assert lines[0].accuracy < 0.3
    assert lines[-1].loss < chance - 1.0
    assert lines[-1].accuracy > 5 * (1 / 63)
    assert lines[-1].step == lines[-1].steps == len(lines)


def test_every_sample_is_seen_once_an_epoch_and_the_rest_waits_for_the_next(
    job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    original = Feed.views

    def watching(self: Feed, positions: np.ndarray, *, epoch: int) -> object:
        seen.append(positions)
        return original(self, positions, epoch=epoch)

    monkeypatch.setattr(Feed, "views", watching)
    job = job_of(epochs=2, warmup_epochs=0)
    train(job)
    samples = job.snapshot.rows["train"]
    steps = samples // 32
    for epoch in range(2):
        visited = np.concatenate(seen[epoch * steps : (epoch + 1) * steps])
        assert len(np.unique(visited)) == len(visited) == steps * 32
        expected = permutation(seed=0, epoch=epoch, size=samples)[: steps * 32]
        assert set(visited) == set(expected)


def test_weights_that_become_nan_stop_the_training_at_that_step(job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "learning_rate", lambda step, **_: math.nan if step == 4 else 0.01)
    job = job_of()
    with pytest.raises(NotFiniteLossError, match=r"became nan at step 6 .*Lower training.learning_rate"):
        train(job)
    # The fifth step's loss was still finite, but its weights were not: they were not kept.
    assert job.checkpoints.latest() == job.checkpoints.at(4)


def test_weights_that_become_nan_in_the_very_last_step_are_no_result(
    job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(epochs=1, warmup_epochs=0)
    last = job.snapshot.rows["train"] // 32 - 1
    monkeypatch.setattr(loop, "learning_rate", lambda step, **_: math.nan if step == last else 0.01)
    with pytest.raises(NotFiniteLossError, match="no longer finite after the last step"):
        train(job)
    assert job.checkpoints.latest() == job.checkpoints.at(last)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_both_precisions_train_and_keep_float32_weights(job_of: JobOf, precision: str) -> None:
    final = train(job_of(precision=precision, epochs=1, warmup_epochs=0))
    state = safetensors.torch.load_file(final.path / "method.safetensors")
    assert {t.dtype for t in state.values() if t.is_floating_point()} == {torch.float32}


def test_accumulating_two_batches_moves_half_as_often(job_of: JobOf) -> None:
    single, double = (
        train(job_of("single", compute=NO_CHECKPOINTS)),
        train(job_of("double", compute=NO_CHECKPOINTS, accumulate_steps=2)),
    )
    assert double.step == single.step // 2 or double.step == (single.step // 3 // 2) * 3


def test_a_full_disk_ends_with_a_sentence_and_the_checkpoint_before(job_of: JobOf, small_disk: Path) -> None:
    job = job_of().model_copy(update={"folder": small_disk})
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (1000 << 10))
    with pytest.raises(StorageFullError, match=r"no space left on the disk that holds .*CL_HOME"):
        train(job)
    assert not list((small_disk / "checkpoints").glob(".staging-*"))
    ballast.unlink()
    assert train(job).resumed_from_step >= 0


def test_progress_shows_what_only_the_method_measures_and_spells_it_out(job_of: JobOf) -> None:
    job = job_of(compute=NO_CHECKPOINTS, **changes("swav"), epochs=2, warmup_epochs=0)
    train(job)
    last = job.progress.read()[-1].model_copy(update={"knn_accuracy": 0.5})
    entropy = last.model_dump()["prototype_entropy"]
    assert 0 <= entropy <= math.log(24)
    assert last.headline == (
        f"loss {last.loss:.3f}, accuracy {last.accuracy:.2f}, rank {last.effective_rank:.1f}, neighbors 0.50"
    )
    assert last.figures == (
        f"{last.headline}, alignment {last.alignment:.3g}, uniformity {last.uniformity:.3g}, "
        f"feature std {last.feature_std:.3g}, prototype entropy {entropy:.3g}"
    )


def test_figures_are_those_of_the_last_check_and_checks_are_every_tenth_step(job_of: JobOf) -> None:
    job = job_of(compute=NO_CHECKPOINTS)
    train(job)
    figures = [(line.accuracy, line.effective_rank, line.uniformity) for line in job.progress.read()]
    assert len(figures) == 27
    looks = [step for step, (now, before) in enumerate(pairwise([None, *figures]), start=1) if now != before]
    assert looks == [1, 10, 20, 27]


def test_who_follows_a_training_sees_the_last_score_of_neighbors_beside_the_newest_figures(job_of: JobOf) -> None:
    job, shown = job_of(epochs=1, warmup_epochs=0), []
    with following(job.progress, shown.append, every_s=60):
        train(job)
        line = job.progress.read()[-1]
        for step, score in ((10, 0.25), (11, 0.5), (12, None)):
            job.progress.append(line.model_copy(update={"step": step, "knn_accuracy": score}))
    assert [(progress.step, progress.knn_accuracy) for progress in shown] == [(12, 0.5)]
