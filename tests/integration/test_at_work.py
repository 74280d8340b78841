"""One command puts a machine to work: servers, worker, schedules, runs that wait for each other or are cancelled."""

import json
import re
import subprocess
import time

import psutil
from machine import CL, LONG, PATIENCE_S, SMALL, Machine, how_far, wait


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


def test_a_command_waits_for_a_run_of_the_same_model_and_says_for_whom(machine: Machine) -> None:
    run = machine.run("retrain/small", LONG)
    wait(lambda: bool(how_far(machine, run)), PATIENCE_S, every=0.5)
    recipe = machine.home.parent / "long.json"
    recipe.write_text(json.dumps({**SMALL, "model_name": "long"}))
    command = [str(CL), "retrain", "--recipe", str(recipe)]
    environment = {**machine.environment, "PREFECT_API_URL": machine.api, "MLFLOW_TRACKING_URI": machine.mlflow}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as waiting:
        name = machine.ask(f"flow_runs/{run}")["name"]
        assert f"waiting for flow run {name!r}, which retrains long" in waiting.stderr.readline()
        machine.ask(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        _, said = waiting.communicate(timeout=PATIENCE_S)
    assert waiting.returncode == 0, said
    assert "registered as models:/long/1" in said


def test_cancel_ends_the_training_and_keeps_its_checkpoint(machine: Machine) -> None:
    run = machine.run("retrain/small", LONG)
    checkpoints = machine.home / "trainings"
    wait(lambda: any(checkpoints.glob("*/checkpoints/step-*/manifest.json")) and how_far(machine, run), PATIENCE_S)
    process = machine.process_of(run)
    cancelled = time.monotonic()
    machine.ask(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    state = machine.wait_for(run)
    assert state["type"] == "CANCELLED", state
    assert time.monotonic() - cancelled < 30
    wait(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 10)
    wait(lambda: not any("ray::" in str(one.cmdline()) for one in machine.processes()), 10)
    assert not list(checkpoints.glob("*/checkpoints/.staging-*"))
    again = machine.run("retrain/small", LONG)
    wait(lambda: "resumed" in machine.logs(again) or how_far(machine, again) > 0, PATIENCE_S)
    machine.ask(f"flow_runs/{again}/set_state", {"state": {"type": "CANCELLING"}})
    machine.wait_for(again, "CANCELLED", timeout=30)
