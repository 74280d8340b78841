"""One command that puts a machine to work: servers, worker, deployments, schedules; and one that ends it."""

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from machine import CL, DECLARATION, LONG, SMALL, Machine, at_work, wait
from servers import free_port

OFTEN = {
    **DECLARATION,
    "deployments": [
        *DECLARATION["deployments"],
        {
            "name": "often",
            "flow": "flows.retrain.retrain",
            "parameters": {**SMALL, "model_name": "scheduled"},
            "schedules": [{"slug": "often", "interval_s": 30}],
        },
    ],
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with at_work(tmp_path_factory.mktemp("up"), OFTEN, new=True) as machine:
        yield machine


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


def test_a_schedule_starts_a_run_that_ends_with_a_registered_version(machine: Machine) -> None:
    deployment = machine.ask("deployments/name/retrain/often")
    begun = {
        "flow_runs": {"state": {"type": {"any_": ["RUNNING", "COMPLETED"]}}},
        "deployments": {"id": {"any_": [deployment["id"]]}},
    }
    wait(lambda: bool(machine.ask("flow_runs/filter", begun)), 120)
    machine.ask(f"deployments/{deployment['id']}/pause_deployment", {})
    run = machine.ask("flow_runs/filter", begun)[0]
    assert run["auto_scheduled"]
    assert machine.wait_for(run["id"])["type"] == "COMPLETED", machine.logs(run["id"])
    machine.wait_for_log(run["id"], "registered as models:/scheduled/1")


def test_runs_of_one_model_take_turns_whatever_deployment_they_are_of(machine: Machine) -> None:
    first = machine.run("retrain/small", {"force": True})
    second = machine.run("retrain/small")
    machine.wait_for(second)
    begun, other = (machine.ask(f"flow_runs/{run}") for run in (first, second))
    assert [run["state"]["type"] for run in (begun, other)] == ["COMPLETED", "COMPLETED"]
    early, late = sorted((begun, other), key=lambda run: run["start_time"])
    assert late["start_time"] >= early["end_time"]
    machine.wait_for_log(late["id"], "stands: data, training spec and code have not changed")


def test_a_restart_of_the_server_neither_loses_nor_doubles_a_run_that_waits(machine: Machine) -> None:
    deployment = machine.ask("deployments/name/retrain/small")
    before = _runs_of(machine, deployment["id"])
    steady = {**LONG, "model_name": "restarted", "training": {**LONG["training"], "epochs": 200}}
    first, second = machine.run("retrain/small", steady), machine.run("retrain/small", steady)
    wait(lambda: bool(_steps(machine, first) or _steps(machine, second)), 120)
    server = machine.service("Prefect server")
    server.kill()
    wait(lambda: machine.pid("Prefect server") not in (0, server.pid), 60)
    states = [machine.wait_for(run, timeout=240)["type"] for run in (first, second)]
    assert states == ["COMPLETED", "COMPLETED"], machine.logs(first) + machine.logs(second)
    assert _runs_of(machine, deployment["id"]) - before == {first, second}
    assert [machine.ask(f"flow_runs/{run}")["run_count"] for run in (first, second)] == [1, 1]
    early, late = sorted(
        (machine.ask(f"flow_runs/{run}") for run in (first, second)), key=lambda one: one["start_time"]
    )
    assert late["start_time"] >= early["end_time"]


def _runs_of(machine: Machine, deployment: str) -> set[str]:
    found = machine.ask("flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}})
    return {one["id"] for one in found}


def test_a_command_waits_for_a_run_of_the_same_model_and_says_for_whom(machine: Machine) -> None:
    run = machine.run("retrain/small", LONG)
    wait(lambda: bool(_steps(machine, run)), 120)
    recipe = machine.home.parent / "long.json"
    recipe.write_text(json.dumps({**SMALL, "model_name": "long"}))
    command = [str(CL), "retrain", "--recipe", str(recipe)]
    environment = {**machine.environment, "PREFECT_API_URL": machine.api, "MLFLOW_TRACKING_URI": machine.mlflow}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as waiting:
        name = machine.ask(f"flow_runs/{run}")["name"]
        assert f"waits for flow run {name!r}, which retrains long" in waiting.stderr.readline()
        machine.ask(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        _, said = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, said
    assert "registered as models:/long/1" in said


def test_cancel_ends_the_training_and_keeps_its_checkpoint(machine: Machine) -> None:
    run = machine.run("retrain/small", LONG)
    checkpoints = machine.home / "trainings"
    wait(lambda: any(checkpoints.glob("*/checkpoints/step-*/manifest.json")) and _steps(machine, run), 120)
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
    wait(lambda: "resumed" in machine.logs(again) or _steps(machine, again) > 0, 120)
    machine.ask(f"flow_runs/{again}/set_state", {"state": {"type": "CANCELLING"}})
    machine.wait_for(again, "CANCELLED", timeout=30)


def _steps(machine: Machine, run: str) -> float:
    """How far the run's training is, in percent."""
    found = machine.ask(
        "artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}, "type": {"any_": ["progress"]}}}
    )
    return float(found[0]["data"]) if found else 0.0


def test_a_server_that_dies_is_started_again(machine: Machine) -> None:
    server = machine.service("MLflow server")
    server.kill()
    wait(lambda: machine.pid("MLflow server") not in (0, server.pid), 30)
    wait(lambda: _answers(machine.mlflow_port), 60)
    # It is said once the server has been started, so a moment later.
    said = "restarted the MLflow server, which exited with -9"
    wait(lambda: said in machine.output, 30, lambda: machine.output)


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_a_second_one_for_the_same_home_is_refused(machine: Machine) -> None:
    second = machine.cl("up")
    assert second.returncode == 2
    assert f"`cl up` runs already for {machine.home}, as process {machine.process.pid}" in second.stderr


def test_a_port_in_use_is_an_error_that_names_its_owner(machine: Machine, tmp_path: Path) -> None:
    other = Machine(tmp_path / "home", DECLARATION, prefect_port=machine.prefect_port, mlflow_port=free_port())
    refused = subprocess.run(other.command(), env=other.environment, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 2
    assert f"the Prefect server cannot listen on port {machine.prefect_port}: process" in refused.stderr
    assert "prefect" in refused.stderr.lower()


def test_registering_again_doubles_nothing_and_down_leaves_no_process(machine: Machine) -> None:
    before = _registered(machine)
    down = machine.cl("down")
    assert down.returncode == 0, down.stderr
    machine.process.wait(60)
    assert machine.processes() == []
    machine.start(on_a_terminal=True)
    assert _registered(machine) == before


def test_its_screen_stays_while_a_server_is_down_and_sigterm_leaves_no_process(machine: Machine) -> None:
    wait(lambda: "latest runs" in machine.output, 30, lambda: machine.output)
    server = machine.service("Prefect server")
    server.kill()
    again = rf"Prefect server +runs +(?!{server.pid})\d+ +1 "
    wait(lambda: re.search(again, _plain(machine.output)) is not None, 60, lambda: _plain(machine.output)[-3000:])
    assert "restarted the Prefect server, which exited with -9" in _plain(machine.output)
    # The last line of the screen is on it: Rich cuts what does not fit.
    assert "Ctrl-C ends all of it." in _plain(machine.output).rpartition("latest runs")[2]
    wait(lambda: _answers(machine.prefect_port), 60)
    assert _registered(machine)["deployments"], "it has been asked while the screen went on"
    assert machine.end(signal.SIGTERM) == []
    assert machine.process.returncode == 0, _plain(machine.output)[-3000:]
    assert machine.processes() == []


def _plain(printed: str) -> str:
    """Without what moves the cursor and colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", printed)


def _registered(machine: Machine) -> dict[str, list[str]]:
    deployments = machine.ask("deployments/filter", {})
    return {
        "deployments": sorted(one["name"] for one in deployments),
        "schedules": sorted(
            f"{one['name']} {schedule['slug']}" for one in deployments for schedule in one["schedules"]
        ),
        "automations": sorted(one["name"] for one in machine.ask("automations/filter", {})),
        "queues": sorted(f"{one['name']} {one['concurrency_limit']}" for one in machine.ask("work_queues/filter", {})),
    }
