"""Ray Train with real workers: the same result contract as in-process, restarts, refusals, and nothing left behind."""

import hashlib
import importlib
import ipaddress
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import forked
import psutil
import pytest
from small_training import JobOf, job_at, train_as_one_of

from cl_core.errors import CollapseError, NotFiniteLossError, SpecError, TrainingError
from cl_core.refs import SnapshotRef
from cl_core.specs import ComputeSpec
from cl_core.training import loop
from tasks.adapters.ray import cluster_folder, trainer

# A group that does not come up is given up, and started again, after minutes: that must be seen to the end.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

TWO = ComputeSpec(workers=2, threads=2, checkpoint_every_s=1e-9, report_every_s=0)


def temporary_folders() -> set[Path]:
    """Those of this process: others on this machine may train at the same time."""
    return set(Path("/tmp").glob(f"cl-ray-{os.getpid()}-*"))


def weights(checkpoint: Path) -> str:
    return hashlib.sha256((checkpoint / "method.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def uninterrupted(snapshot: SnapshotRef, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of two workers that nothing interrupts, and that Ray does not start."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    job = job_at(snapshot, cache, folder, compute=ComputeSpec(workers=2, threads=2), epochs=20)
    workers = [forked.start(train_as_one_of, 2, rank, job.model_dump_json()) for rank in range(2)]
    for worker in workers:
        worker.join()
    latest = job.checkpoints.latest()
    assert latest is not None
    return weights(latest)


def ray_processes() -> list[psutil.Process]:
    """Those of the cluster. A fork server of the tests is none: it names the folders of modules, those of Ray too."""
    begun = {p: " ".join(p.cmdline()[:3]) for p in psutil.Process().children(recursive=True)}
    return [p for p, command in begun.items() if "ray" in command.lower() and "forkserver" not in command]


def listeners() -> list[tuple[bool, str]]:
    """Where processes of the cluster can be reached: whether only from this machine, and the process's name."""
    found = [(p, c.laddr.ip) for p in ray_processes() for c in p.net_connections("inet") if c.status == "LISTEN"]
    return [(ipaddress.ip_address(ip.removeprefix("::ffff:")).is_loopback, p.name()) for p, ip in found]


def test_one_worker_trains_in_this_process(job_of: JobOf) -> None:
    job = job_of(epochs=1, warmup_epochs=0)
    checkpoint = trainer.fit(job)
    assert checkpoint.step == job.snapshot.rows["train"] // 32
    assert not ray_processes()


def test_more_workers_than_cpus_is_an_error_in_seconds(job_of: JobOf) -> None:
    began = time.monotonic()
    with pytest.raises(SpecError, match=r"compute.threads: 512 workers need 512 CPU threads.*at most \d+"):
        trainer.fit(job_of(compute=ComputeSpec(workers=512, threads=512), batch_size=32))
    with pytest.raises(SpecError, match=r"2 workers need a GPU each, but this machine has 0"):
        trainer.fit(job_of(compute=ComputeSpec(workers=2, threads=2, gpus_per_worker=1)))
    assert time.monotonic() - began < 20


def test_two_workers_survive_the_death_of_one_and_leave_nothing_behind(job_of: JobOf, uninterrupted: str) -> None:
    handler = signal.getsignal(signal.SIGINT)
    job = job_of(compute=TWO, epochs=20)
    killed: list[int] = []
    listening: list[tuple[bool, str]] = []
    niceness: set[int] = set()

    def kill_a_worker() -> None:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and not killed:
            if len(job.progress.read()) > 20:
                victims = [p for p in ray_processes() if "RayTrainWorker" in p.name() + " ".join(p.cmdline())]
                if victims:
                    listening.extend(listeners())
                    niceness.update(victim.nice() for victim in victims)
                    victims[0].kill()
                    killed.append(victims[0].pid)
            time.sleep(0.02)

    thread = threading.Thread(target=kill_a_worker)
    thread.start()
    checkpoint = trainer.fit(job)
    thread.join()
    assert killed, "a worker was killed while it trained"
    # Ray's own 15 would leave them a thirtieth of a core each beside whatever else is at work.
    assert niceness == {psutil.Process().nice()}
    assert len(listening) > 5
    # The store at which torch's workers meet knows no other address than all there are.
    assert [name[:14] for only_from_here, name in listening if not only_from_here] in ([], ["ray::RayTrainW"])
    assert checkpoint.step == 20 * (job.snapshot.rows["train"] // 32)
    assert checkpoint.resumed_from_step >= 20
    assert weights(checkpoint.path) == uninterrupted
    assert [p.step for p in job.progress.read()] == list(range(1, checkpoint.step + 1))
    assert not ray_processes()
    assert not temporary_folders()
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.sweep
def test_a_stopped_worker_is_noticed_and_the_training_ends_with_the_same_bits(
    job_of: JobOf, uninterrupted: str
) -> None:
    stalling = TWO.model_copy(update={"stall_timeout_s": 5})
    job = job_of("stopped", compute=stalling, epochs=20)
    stopped: list[psutil.Process] = []

    def stop_a_worker() -> None:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and not stopped:
            if len(job.progress.read()) > 20:
                victims = [p for p in ray_processes() if "RayTrainWorker" in p.name() + " ".join(p.cmdline())]
                if victims:
                    victims[-1].suspend()
                    stopped.append(victims[-1])
            time.sleep(0.02)

    thread = threading.Thread(target=stop_a_worker)
    thread.start()
    checkpoint = trainer.fit(job)
    thread.join()
    assert stopped, "a worker was stopped while it trained"
    assert not stopped[0].is_running()
    assert checkpoint.resumed_from_step >= 20
    assert weights(checkpoint.path) == uninterrupted
    assert not ray_processes()


@pytest.mark.sweep
def test_workers_whose_master_is_killed_end_and_are_cleared_away_before_the_next_training(job_of: JobOf) -> None:
    job = job_of(compute=TWO, epochs=400)
    program = (
        "import sys; from cl_core.training.job import TrainingJob; from tasks.adapters.ray import trainer\n"
        "trainer.fit(TrainingJob.model_validate_json(sys.stdin.read()))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, text=True) as master:
        try:
            assert master.stdin is not None
            master.stdin.write(job.model_dump_json())
            master.stdin.close()
            deadline = time.monotonic() + 200
            while len(job.progress.read()) < 20:
                assert time.monotonic() < deadline and master.poll() is None
                time.sleep(0.02)
            family = psutil.Process(master.pid).children(recursive=True)
            [folder] = Path("/tmp").glob(f"cl-ray-{master.pid}-*")
            workers = {process for process in family if "RayTrainWo" in process.name()}
            # The master, too, writes into the folder while it lives.
            known = cluster_folder.processes_of(folder)
            assert len(workers) == 2 and workers < known <= {*family, psutil.Process(master.pid)}
            # As hung as can be: they would wake up beside the next training and write where it writes.
            for process in family:
                process.suspend()
        finally:
            master.kill()
    assert folder in cluster_folder.abandoned_folders()
    assert cluster_folder.is_for(folder, job.folder.parent) and not cluster_folder.is_for(folder, job.folder / "other")
    with cluster_folder.temporary_folder(job.folder):
        assert not folder.exists()
        assert all(not process.is_running() or process.status() == psutil.STATUS_ZOMBIE for process in family)


PLUGIN = """
from cl_core.errors import NotFiniteLossError


class DivergedError(NotFiniteLossError):
    def __init__(self, step: int, *, rate: float) -> None:
        super().__init__(f"the rate {rate} was too high at step {step}; choose a lower training.learning_rate")


class Method:
    class InnerError(NotFiniteLossError):
        pass


def local_error() -> NotFiniteLossError:
    class LocalError(DivergedError):
        pass

    return LocalError(7, rate=3)
"""


def round_trip(job_of: JobOf, error: Exception, monkeypatch: pytest.MonkeyPatch) -> BaseException:
    """What becomes of an error of a worker's training on its way, as JSON, to the driver."""

    def train(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(loop, "train", train)
    returned = trainer._work(job_of().model_dump(mode="json"))
    with pytest.raises(TrainingError) as caught:
        trainer._result(json.loads(json.dumps(returned)))
    return caught.value


def test_an_error_class_of_another_package_comes_back_as_it_was(
    job_of: JobOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugin_of_a_team.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    plugin = importlib.import_module("plugin_of_a_team")
    message = "the rate 3 was too high at step 7; choose a lower training.learning_rate"
    for error in (plugin.DivergedError(7, rate=3), plugin.local_error()):
        caught = round_trip(job_of, error, monkeypatch)
        assert type(caught) is plugin.DivergedError, "one of a function is one of its importable base"
        assert str(caught) == message and isinstance(caught, NotFiniteLossError)
    assert type(round_trip(job_of, plugin.Method.InnerError("no"), monkeypatch)) is plugin.Method.InnerError
    assert type(round_trip(job_of, CollapseError("flat"), monkeypatch)) is CollapseError
    returned = {"error": [["a_package_that_is_not_here", "Error"], ["os", "path"]], "message": "lost"}
    with pytest.raises(TrainingError, match=r"^lost$"):
        trainer._result(returned)


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
        trainer.fit(job_of())
    assert calls == [0, 1]
