"""A run whose process dies is put back to work by Prefect itself: the same run, from the last good point."""

import signal
from collections.abc import Iterator

import psutil
import pytest
from machine import DECLARATION, SMALL, Machine, at_work, wait

from cl_core.account import Ledger, costs

# Long enough to be hit in the middle, on any machine.
STEADY = {**SMALL, "model_name": "steady", "training": {**SMALL["training"], "epochs": 400, "warmup_epochs": 1}}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with at_work(tmp_path_factory.mktemp("heal"), DECLARATION) as machine:
        yield machine


def training(machine: Machine) -> bool:
    return any(machine.home.glob("trainings/*/checkpoints/step-*/manifest.json"))


def test_a_killed_flow_process_is_replaced_and_the_same_run_completes(machine: Machine) -> None:
    run = machine.run("retrain/small", STEADY)
    wait(lambda: training(machine), 120, lambda: machine.logs(run))
    machine.process_of(run).send_signal(signal.SIGKILL)
    machine.wait_for(run, "CRASHED", timeout=60)
    assert machine.wait_for(run, "COMPLETED", "FAILED", timeout=180)["type"] == "COMPLETED", machine.logs(run)
    assert machine.ask(f"flow_runs/{run}")["run_count"] == 2
    machine.wait_for_log(run, "resumed at step")
    machine.wait_for_log(run, "registered as models:/steady/1")
    account = Ledger(machine.home / "work" / "accounts" / f"{run}.jsonl").read()
    [pretrain] = [cost for cost in costs(account.attempts) if cost.step == "pretrain"]
    assert [one.outcome for one in account.attempts if one.step == "pretrain"] == ["killed", "ran"]
    # It goes on from a checkpoint: what the killed attempt did up to there is not lost.
    assert pretrain.lost_seconds < pretrain.seconds / 2
    assert pretrain.waited_seconds > 14


def test_a_run_whose_worker_died_too_is_noticed_by_its_silence(machine: Machine) -> None:
    run = machine.run("retrain/small", {**STEADY, "force": True})
    wait(lambda: "Created task run 'pretrain" in machine.logs(run) or machine.state(run)["type"] == "RUNNING", 120)
    process, worker = machine.process_of(run), machine.service("worker")
    for one in (worker, process):
        one.send_signal(signal.SIGKILL)
    psutil.wait_procs([worker, process], timeout=10)
    machine.wait_for(run, "CRASHED", timeout=180)
    assert machine.wait_for(run, "COMPLETED", "FAILED", timeout=240)["type"] == "COMPLETED", machine.logs(run)
