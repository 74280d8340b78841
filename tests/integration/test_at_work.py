"""One command puts a machine to work: servers, worker, schedules, runs that wait for each other or are cancelled."""

import json
import re
import shlex
import subprocess
import time
import urllib.request
from dataclasses import dataclass

import psutil
import pytest
from machine import CL, LONG, PATIENCE_S, SMALL, Machine, how_far, wait
from working_folder import imported


def test_a_schedule_starts_a_run_that_ends_with_a_registered_version(scheduled_machine: Machine) -> None:
    machine = scheduled_machine
    deployment = machine.ask("deployments/name/retrain/often")
    begun = {
        "flow_runs": {"state": {"type": {"any_": ["RUNNING", "COMPLETED"]}}},
        "deployments": {"id": {"any_": [deployment["id"]]}},
    }
    wait(lambda: bool(machine.ask("flow_runs/filter", begun)), PATIENCE_S, every=0.5)
    machine.ask(f"deployments/{deployment['id']}/pause_deployment", {})
    run = machine.ask("flow_runs/filter", begun)[0]
    assert run["auto_scheduled"]
    assert machine.wait_for(run["id"])["type"] == "COMPLETED", machine.logs(run["id"])
    machine.wait_for_log(run["id"], "registered as models:/scheduled/1")


def test_servers_worker_and_runs_import_nothing_from_the_folder_that_it_was_started_in(machine: Machine) -> None:
    """Neither do the processes that check images: the run before had two. Of Ray's workers, test_faults.py has it."""
    assert machine.folder == machine.home.parent / "project"
    assert imported(machine.home.parent) == ""


def test_ready_means_that_an_automation_was_executed(machine: Machine) -> None:
    automations = [one["name"] for one in machine.ask("automations/filter", {})]
    assert "counterpoint: reschedule a crashed run" in automations
    # What has checked them is gone.
    assert "counterpoint: check that automations run" not in automations


def test_the_lines_to_copy_into_a_shell_are_quoted(machine: Machine) -> None:
    exported = next(line for line in machine.output.splitlines() if "export CL_HOME=" in line)
    assert f"CL_HOME={machine.home}" in shlex.split(exported)


def test_it_prints_the_addresses_that_matter_and_is_ready_in_time(machine: Machine) -> None:
    for address in (machine.api.removesuffix("/api"), machine.mlflow, str(machine.home)):
        assert address in machine.output
    seconds = re.search(r"ready after (\d+) s", machine.output)
    assert seconds is not None and int(seconds.group(1)) < 90


def test_servers_listen_on_the_loopback_interface_only(machine: Machine) -> None:
    listening = {
        connection.laddr.ip
        for process in machine.processes()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_runs_of_one_model_are_serialized_whatever_deployment_they_are_of(
    machine: Machine, two_runs: tuple[str, str]
) -> None:
    begun, other = (machine.ask(f"flow_runs/{run}") for run in two_runs)
    assert [run["state"]["type"] for run in (begun, other)] == ["COMPLETED", "COMPLETED"]
    early, late = sorted((begun, other), key=lambda run: run["start_time"])
    assert late["start_time"] >= early["end_time"]
    machine.wait_for_log(late["id"], "is up to date (data, spec and code unchanged); skipped")


@dataclass(frozen=True)
class Cancelled:
    """A run that was cancelled while it trained and a command waited for it."""

    run: str
    name: str
    seconds: float
    process: psutil.Process
    command: int
    waited: str
    said: str


@pytest.fixture(scope="module")
def cancelled(machine: Machine) -> Cancelled:
    run = machine.run("retrain/free", LONG)
    checkpoints = machine.home / "trainings"
    wait(lambda: any(checkpoints.glob("*/checkpoints/step-*/manifest.json")) and how_far(machine, run), PATIENCE_S)
    recipe = machine.home.parent / "long.json"
    recipe.write_text(json.dumps({**SMALL, "model_name": "long"}))
    program = [str(CL), "retrain", "--recipe", str(recipe)]
    with subprocess.Popen(program, env=machine.environment, stderr=subprocess.PIPE, text=True) as command:
        waited = command.stderr.readline()
        name, process = machine.ask(f"flow_runs/{run}")["name"], machine.process_of(run)
        began = time.monotonic()
        machine.ask(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        machine.wait_for(run)
        seconds = time.monotonic() - began
        _, said = command.communicate(timeout=PATIENCE_S)
    return Cancelled(run, name, seconds, process, command.returncode, waited, said)


def test_a_command_waits_for_a_run_of_the_same_model_and_says_for_whom(cancelled: Cancelled) -> None:
    assert f"waiting for flow run {cancelled.name!r}, which retrains long" in cancelled.waited
    assert cancelled.command == 0, cancelled.said
    assert "registered as models:/long/1" in cancelled.said


def test_a_command_finds_the_servers_that_run_for_its_home(machine: Machine, cancelled: Cancelled) -> None:
    """Nothing of its environment names them."""
    runs = [run for run in machine.ask("flow_runs/filter", {}) if run["parameters"].get("model_name") == "long"]
    assert "COMPLETED" in [run["state"]["type"] for run in runs if run["deployment_id"] is None]
    address = f"{machine.mlflow}/api/2.0/mlflow/experiments/get-by-name?experiment_name=long"
    with urllib.request.urlopen(address, timeout=30) as answer:
        location = json.loads(answer.read())["experiment"]["artifact_location"]
    # So that what is registered can be loaded when the server no longer runs.
    assert location.startswith(str(machine.home / "mlflow-artifacts"))


def test_cancel_ends_the_training_and_keeps_its_checkpoint(machine: Machine, cancelled: Cancelled) -> None:
    assert machine.state(cancelled.run)["type"] == "CANCELLED", machine.logs(cancelled.run)
    assert cancelled.seconds < 30
    process = cancelled.process
    wait(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 10)
    wait(lambda: not any("ray::" in str(one.cmdline()) for one in machine.processes()), 10)
    assert not list((machine.home / "trainings").glob("*/checkpoints/.staging-*"))
    again = machine.run("retrain/free", LONG)
    wait(lambda: how_far(machine, again) > 0, PATIENCE_S, lambda: machine.logs(again))
    machine.ask(f"flow_runs/{again}/set_state", {"state": {"type": "CANCELLING"}})
    machine.wait_for(again, "CANCELLED", timeout=30)
    assert "An error was encountered" not in machine.logs(cancelled.run)
