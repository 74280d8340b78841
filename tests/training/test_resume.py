"""A killed training resumes and ends with the bits of the weights of an uninterrupted one."""

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_training import JobOf, job_at, train_in_a_process

from cl_core import artifact_dir
from cl_core.refs import CheckpointRef, SnapshotRef
from cl_core.specs import ComputeSpec
from cl_core.training.loop import train

TESTS = Path(__file__).parents[1]


def weights(checkpoint: Path) -> str:
    return hashlib.sha256((checkpoint / "method.safetensors").read_bytes()).hexdigest()


# Checkpoints of every step are what resuming is about; a training that is only compared with writes none on its way.
UNDISTURBED = ComputeSpec(threads=1, checkpoint_every_s=3600, report_every_s=0)


@pytest.fixture(scope="module")
def undisturbed(snapshot: SnapshotRef, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> CheckpointRef:
    """The end of the small training that nothing has disturbed."""
    return train(job_at(snapshot, cache, tmp_path_factory.mktemp("undisturbed"), compute=UNDISTURBED))


def test_two_uninterrupted_trainings_end_with_the_same_bits(job_of: JobOf, undisturbed: CheckpointRef) -> None:
    # Trainings that write a checkpoint after every step end with these bits, too: that of the test of a kill below.
    assert weights(train(job_of("second", compute=UNDISTURBED)).path) == weights(undisturbed.path)


def test_another_seed_ends_with_other_bits(job_of: JobOf, undisturbed: CheckpointRef) -> None:
    assert weights(train(job_of("other", compute=UNDISTURBED, seed=1)).path) != weights(undisturbed.path)


def test_a_training_that_is_asked_to_stop_keeps_the_step_it_is_at_and_resumes_with_the_same_bits(
    job_of: JobOf, undisturbed: CheckpointRef
) -> None:
    # Between two checkpoints: without one of its own, all thirteen steps would be lost.
    job, asked = job_of("stopped", compute=UNDISTURBED), iter(range(1, 99))
    sentence = f"interrupted at step 13 of {undisturbed.step}; its checkpoint is written and no step is lost, run the"
    with pytest.raises(KeyboardInterrupt, match=sentence):
        train(job, stop_requested=lambda: next(asked) == 13)
    assert job.checkpoints.latest() == job.checkpoints.at(13)
    resumed = train(job)
    assert resumed.resumed_from_step == 13 and job.progress.repeated() == []
    assert weights(resumed.path) == weights(undisturbed.path)


@pytest.mark.usefixtures("compiled_views")
def test_with_fused_views_a_resumed_training_has_the_bits_of_an_uninterrupted_one(job_of: JobOf) -> None:
    changes = {"views_backend": "fused", "epochs": 1, "warmup_epochs": 0}
    undisturbed = train(job_of("undisturbed", compute=UNDISTURBED, **changes))
    job, asked = job_of("stopped", compute=UNDISTURBED, **changes), iter(range(1, 99))
    with pytest.raises(KeyboardInterrupt):
        train(job, stop_requested=lambda: next(asked) == 3)
    resumed = train(job)
    assert resumed.resumed_from_step == 3
    assert weights(resumed.path) == weights(undisturbed.path)


def test_the_other_backend_of_views_is_another_training_with_checkpoints_of_its_own(job_of: JobOf) -> None:
    fused, other = (job_of("one", views_backend=backend) for backend in ("fused", "torch"))
    assert fused.digest != other.digest


KILLED_AT_13 = """
import os, signal, sys
from cl_core.training.checkpoint import CheckpointStore
from small_training import train_from_json
save = CheckpointStore.save
def killing(self, step, **state):
    path = save(self, step, **state)
    # In the second epoch of nine steps, between two checkpoints.
    if step == 13: os.kill(os.getpid(), signal.SIGKILL)
    return path
CheckpointStore.save = killing
train_from_json(sys.stdin.read())
"""


@pytest.mark.slow_unit(reason="a process is started and killed: what everything else here rests on")
def test_a_process_killed_in_its_second_epoch_is_resumed_with_the_same_bits(
    job_of: JobOf, undisturbed: CheckpointRef
) -> None:
    """The one kill of the unit tests; those at other places and of other optimizers are integration tests."""
    job = job_of("killed")
    command = [sys.executable, "-c", KILLED_AT_13]
    killed = subprocess.run(command, input=job.model_dump_json(), text=True, cwd=TESTS, check=False)
    assert killed.returncode == -signal.SIGKILL
    latest = job.checkpoints.latest()
    assert latest is not None and artifact_dir.manifest_of(latest)["step"] == 13
    resumed = train(job)
    assert resumed.resumed_from_step == 13
    assert weights(resumed.path) == weights(undisturbed.path)


@pytest.mark.integration
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lars"])
def test_killed_in_the_middle_of_an_epoch_it_ends_with_the_same_bits(job_of: JobOf, optimizer: str) -> None:
    undisturbed = train(job_of("undisturbed", optimizer=optimizer, learning_rate=0.01))
    job = job_of("killed", optimizer=optimizer, learning_rate=0.01)
    process = train_in_a_process(job)
    wait_for(job.folder / "checkpoints", at_least=3)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    latest = job.checkpoints.latest()
    assert latest is not None
    reached = artifact_dir.manifest_of(latest)["step"]
    assert 3 <= reached < undisturbed.step
    resumed = train(job)
    assert resumed.resumed_from_step == reached
    assert weights(resumed.path) == weights(undisturbed.path)
    assert [progress.step for progress in job.progress.read()] == list(range(1, undisturbed.step + 1))


@pytest.mark.integration
@pytest.mark.parametrize("moment", ["before the manifest", "before the rename"])
def test_killed_while_it_writes_a_checkpoint_it_resumes_from_the_one_before(
    job_of: JobOf, undisturbed: CheckpointRef, moment: str
) -> None:
    job = job_of("killed")
    target = "artifact_dir.write_text" if moment == "before the manifest" else "pathlib.Path.rename"
    process = train_in_a_process(
        job,
        prelude=f"""
import os, signal, pathlib
from cl_core import artifact_dir
original, calls = {target}, []
def killing(*args, **kwargs):
    calls.append(1)
    # The first call of write_text rewinds the progress log; checkpoints come after.
    if len(calls) == 6: os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)
{target} = killing
""",
    )
    assert process.wait() == -signal.SIGKILL
    left = list((job.folder / "checkpoints").glob(".staging-*"))
    assert len(left) == 1, "it was killed with a checkpoint half written"
    latest = job.checkpoints.latest()
    assert latest is not None
    reached = artifact_dir.manifest_of(latest)["step"]
    resumed = train(job)
    assert resumed.resumed_from_step == reached > 0
    assert weights(resumed.path) == weights(undisturbed.path)
    assert not list((job.folder / "checkpoints").glob(".staging-*")), "the half-written one is cleared away"


def test_a_checkpoint_with_a_flipped_byte_is_skipped(
    job_of: JobOf, undisturbed: CheckpointRef, caplog: pytest.LogCaptureFixture
) -> None:
    job = job_of("damaged")
    train(job)
    newest, before = sorted((job.folder / "checkpoints").glob("step-*"), reverse=True)
    flip_a_byte(newest / "method.safetensors")
    assert job.checkpoints.latest() == before
    assert "has changed since it was written" in caplog.text
    again = train(job)
    assert again.resumed_from_step == undisturbed.step - 1
    assert weights(again.path) == weights(undisturbed.path)


def test_a_resume_without_an_intact_checkpoint_starts_over(job_of: JobOf) -> None:
    job = job_of(epochs=1, warmup_epochs=0)
    first = train(job)
    expected = weights(first.path)
    for checkpoint in (job.folder / "checkpoints").glob("step-*"):
        (checkpoint / "optimizer.json").unlink()
    again = train(job)
    assert again.resumed_from_step == 0
    assert weights(again.path) == expected


@pytest.mark.integration
def test_accumulated_batches_are_resumed_too(job_of: JobOf) -> None:
    undisturbed = train(job_of("undisturbed", accumulate_steps=2))
    job = job_of("killed", accumulate_steps=2)
    process = train_in_a_process(job)
    wait_for(job.folder / "checkpoints", at_least=2)
    process.kill()
    process.wait()
    assert weights(train(job).path) == weights(undisturbed.path)


def test_checkpoints_are_written_no_more_often_than_configured(job_of: JobOf) -> None:
    job = job_of(compute=ComputeSpec(threads=1, checkpoint_every_s=3600))
    final = train(job)
    assert [path.name for path in (job.folder / "checkpoints").iterdir()] == [final.path.name]


def wait_for(folder: Path, *, at_least: int) -> None:
    deadline = time.monotonic() + 60
    while not any(int(path.name[5:]) >= at_least for path in folder.glob("step-*")):
        assert time.monotonic() < deadline, f"no checkpoint after {at_least} steps within a minute"
        time.sleep(0.002)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
