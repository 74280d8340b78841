"""A run whose process dies, with whatever else, is rescheduled: the same run resumes from its last checkpoint."""

import re
from collections.abc import Iterator

import psutil
import pytest
from machine import DECLARATION, PATIENCE_S, Machine, at_work, start, start_to_train, wait

from cl_core.report.costs import step_costs
from tasks.runtime.run_log import RunLog

pytestmark = pytest.mark.timeout(900)

RESCHEDULED = "The process died; the run is rescheduled and resumes from its last checkpoint."


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One of its own: its runs mostly wait, beside those of other files."""
    with at_work(tmp_path_factory.mktemp("recovery"), DECLARATION, new=True) as machine:
        yield machine


def completes_at_the_second_attempt(machine: Machine, run: str) -> bool:
    state = machine.wait_for(run, "COMPLETED", "FAILED")["type"]
    assert state == "COMPLETED", machine.logs(run)
    return bool(machine.ask(f"flow_runs/{run}")["run_count"] == 2)


def messages(machine: Machine, run: str) -> list[str]:
    """What the run's states have said."""
    return [state["message"] for state in machine.ask(f"flow_run_states/?flow_run_id={run}") if state["message"]]


def test_in_an_empty_home_the_servers_make_their_tables_and_are_ready_in_time(machine: Machine) -> None:
    seconds = re.search(r"ready after (\d+) s", machine.output)
    assert seconds is not None and int(seconds.group(1)) < 90


def test_a_killed_flow_process_is_replaced_and_the_same_run_completes(machine: Machine) -> None:
    run, process = start_to_train(machine, "steady")
    process.kill()
    # Seconds later it is scheduled again.
    wait(lambda: "CRASHED" in machine.states(run), 60, lambda: machine.logs(run), every=0.5)
    assert completes_at_the_second_attempt(machine, run)
    machine.wait_for_log(run, "resumed at step")
    machine.wait_for_log(run, "registered as models:/steady/1")
    logged = RunLog(machine.home / "work" / "runs" / f"{run}.jsonl").read()
    [pretrain] = [cost for cost in step_costs(logged.attempts) if cost.step == "pretrain"]
    assert [one.outcome for one in logged.attempts if one.step == "pretrain"] == ["killed", "ran"]
    # It goes on from a checkpoint: what the killed attempt did up to there is not lost.
    assert pretrain.lost_seconds < pretrain.seconds / 2
    assert pretrain.waited_seconds > 14


@pytest.mark.sweep
def test_runs_whose_end_is_not_reported_are_noticed_too(machine: Machine) -> None:
    """A stopped process by its missing heartbeats; one that dies with its worker by the owner in its record."""
    stopped, sleeper = start_to_train(machine, "stopped")
    killed = start(machine, "killed")
    wait((machine.home / "work" / "runs" / f"{killed}.json").exists, PATIENCE_S)
    dead = [machine.service("worker"), machine.process_of(killed)]
    for process in dead:
        process.kill()
    psutil.wait_procs(dead, timeout=10)
    assert completes_at_the_second_attempt(machine, killed)
    assert completes_at_the_second_attempt(machine, stopped)
    assert "The process sent no heartbeat for 90 s." in messages(machine, stopped)
    assert any(re.fullmatch(r"`cl up`: process \S+ has exited\.", said) for said in messages(machine, killed))
    assert not sleeper.is_running() or sleeper.status() == psutil.STATUS_ZOMBIE


@pytest.mark.sweep
def test_a_server_that_was_started_again_notices_what_happens_to_runs_that_began_before(machine: Machine) -> None:
    run, process = start_to_train(machine, "late")
    server = machine.pid("Prefect server")
    machine.service("Prefect server").kill()
    wait(lambda: machine.pid("Prefect server") not in (0, server), 60)
    assert machine.state(run)["type"] == "RUNNING"
    process.kill()
    assert completes_at_the_second_attempt(machine, run)
    # Prefect's own order of events would put the run back 15 minutes late.
    assert messages(machine, run).count(RESCHEDULED) == 1
    assert f"run {machine.ask(f'flow_runs/{run}')['name']} is rescheduled" not in machine.output


@pytest.mark.sweep
def test_after_a_power_cut_the_next_start_reschedules_runs(machine: Machine) -> None:
    begun, _ = start_to_train(machine, "begun")
    pending = start(machine, "pending")
    machine.wait_for(pending, "PENDING")
    for process in machine.processes():
        process.kill()
    machine.process.wait(30)
    machine.start()
    for run in (begun, pending):
        assert f"run {machine.ask(f'flow_runs/{run}')['name']} is rescheduled" in machine.output
    assert completes_at_the_second_attempt(machine, begun)
    machine.wait_for_log(begun, "resumed at step")
    assert machine.wait_for(pending, "COMPLETED", "FAILED")["type"] == "COMPLETED", machine.logs(pending)
    for run in (begun, pending):
        assert messages(machine, run).count(RESCHEDULED) == 1
