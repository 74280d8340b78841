"""Ray Train with real workers: the same result contract as in-process, restarts, refusals, and nothing left behind."""

import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from small_training import JobOf

from cl_core.errors import NotFiniteLossError, SpecError
from cl_core.specs import ComputeSpec
from cl_core.training import loop
from tasks.adapters import ray_train

TWO = ComputeSpec(workers=2, threads=2, checkpoint_every_s=1e-9, report_every_s=0)


def temporary_folders() -> set[Path]:
    return set(Path("/tmp").glob("cl-ray-*"))


def ray_processes() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if "ray" in " ".join(p.cmdline()[:3]).lower()]


def test_one_worker_trains_in_this_process(job_of: JobOf) -> None:
    job = job_of(epochs=1, warmup_epochs=0)
    checkpoint = ray_train.fit(job)
    assert checkpoint.step == job.snapshot.rows["train"] // 32
    assert not ray_processes()


def test_more_workers_than_cpus_is_an_error_in_seconds(job_of: JobOf) -> None:
    began = time.monotonic()
    with pytest.raises(SpecError, match=r"compute.threads: 512 workers with 512 CPU threads .*at most \d+"):
        ray_train.fit(job_of(compute=ComputeSpec(workers=512, threads=512), batch_size=32))
    with pytest.raises(SpecError, match=r"want 2 GPUs, but this machine has 0"):
        ray_train.fit(job_of(compute=ComputeSpec(workers=2, threads=2, gpus_per_worker=1)))
    assert time.monotonic() - began < 20


def test_two_workers_survive_the_death_of_one_and_leave_nothing_behind(job_of: JobOf) -> None:
    before, handler = temporary_folders(), signal.getsignal(signal.SIGINT)
    job = job_of(compute=TWO, epochs=40)
    killed: list[int] = []

    def kill_a_worker() -> None:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and not killed:
            if len(job.progress.read()) > 20:
                victims = [p for p in ray_processes() if "RayTrainWorker" in p.name() + " ".join(p.cmdline())]
                if victims:
                    victims[0].kill()
                    killed.append(victims[0].pid)
            time.sleep(0.02)

    thread = threading.Thread(target=kill_a_worker)
    thread.start()
    checkpoint = ray_train.fit(job)
    thread.join()
    assert killed, "a worker was killed while it trained"
    assert checkpoint.step == 40 * (job.snapshot.rows["train"] // 32)
    assert checkpoint.resumed_from_step >= 20
    assert [p.step for p in job.progress.read()] == list(range(1, checkpoint.step + 1))
    assert not ray_processes()
    assert temporary_folders() == before
    assert signal.getsignal(signal.SIGINT) is handler


def test_what_training_refuses_is_raised_as_it_is_and_not_tried_again(
    job_of: JobOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def rate(step: int, **_: object) -> float:
        calls.append(step)
        return float("nan")

    monkeypatch.setattr(loop, "learning_rate", rate)
    with pytest.raises(NotFiniteLossError, match="became nan at step 2 "):
        ray_train.fit(job_of())
    assert calls == [0, 1]
