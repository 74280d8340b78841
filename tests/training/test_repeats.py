"""Training that is taken again after a kill is counted: how many steps, and the time they had taken."""

import pytest
from small_training import JobOf, train_in_a_process

from cl_core import artifact_dir
from cl_core.specs import ComputeSpec
from cl_core.training.loop import train

# Kills after the n-th line of progress; only the first step's checkpoint stands by then.
KILL = """
import os, signal
from cl_core.training import checkpoint, loop, progress
append, save, lines = progress.ProgressLog.append, checkpoint.CheckpointStore.save, []
def counted(self, line):
    append(self, line)
    lines.append(line)
    if len(lines) == 6: os.kill(os.getpid(), signal.SIGKILL)
def only_early(self, step, **rest):
    if step <= 2: save(self, step, **rest)
progress.ProgressLog.append, checkpoint.CheckpointStore.save = counted, only_early
"""


@pytest.mark.integration
def test_a_killed_training_reports_the_steps_that_it_repeats_and_an_uninterrupted_one_none(job_of: JobOf) -> None:
    job = job_of("killed")
    assert train_in_a_process(job, prelude=KILL).wait() < 0
    latest = job.checkpoints.latest()
    assert latest is not None and artifact_dir.manifest_of(latest)["step"] == 2
    logged = job.progress.read()
    assert [line.step for line in logged] == [1, 2, 3, 4, 5, 6]
    assert train(job).resumed_from_step == 2
    [repeat] = job.progress.repeated()
    assert repeat.steps == 4
    assert repeat.seconds == logged[5].seconds - logged[1].seconds > 0
    undisturbed = job_of("undisturbed", compute=ComputeSpec(threads=1, report_every_s=0))
    train(undisturbed)
    assert undisturbed.progress.repeated() == []
