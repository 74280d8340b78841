"""The machine at work loses a server, is asked for twice, and is ended: by a command, and by a signal."""

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import DECLARATION, Machine, wait
from prefect.settings import PREFECT_API_URL, temporary_settings
from servers import free_port, give_tables

from cl_core.errors import InfrastructureError
from tasks.server.automation_check import wait_for_automations

from .conftest import prefect_serving


@pytest.fixture(scope="module", autouse=True)
def ended_afterwards(machine: Machine) -> Iterator[None]:
    """Nothing after this file needs the machine: registered again, its schedule would start runs beside all tests."""
    yield
    assert machine.process is not None
    if machine.process.poll() is None:
        machine.end()


def test_a_restart_of_the_server_neither_loses_nor_doubles_a_run_that_waits(
    machine: Machine, two_runs: tuple[str, str]
) -> None:
    runs = [machine.ask(f"flow_runs/{run}") for run in two_runs]
    assert [run["state"]["type"] for run in runs] == ["COMPLETED", "COMPLETED"], [machine.logs(run) for run in two_runs]
    assert [run["run_count"] for run in runs] == [1, 1]
    asked = {"deployments": {"id": {"any_": [runs[0]["deployment_id"]]}}}
    alike = [run for run in machine.ask("flow_runs/filter", asked) if run["parameters"] == runs[1]["parameters"]]
    assert [run["id"] for run in alike] == [two_runs[1]]
    assert "restarted the Prefect server, which exited with -9" in machine.output


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
    assert f"`cl up` already runs for {machine.home}, as process {machine.process.pid}" in second.stderr


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


@pytest.mark.sweep
def test_its_screen_stays_while_a_server_is_down_and_sigterm_leaves_no_process(machine: Machine) -> None:
    machine.end()
    machine.start(on_a_terminal=True)
    last_line = "Ctrl-C stops everything."
    wait(lambda: last_line in _plain(machine.output), 30, lambda: machine.output)
    server = machine.service("Prefect server")
    server.kill()
    again = rf"Prefect server +running +(?!{server.pid})\d+ +1 "
    wait(lambda: re.search(again, _plain(machine.output)) is not None, 60, lambda: _plain(machine.output)[-3000:])
    assert "restarted the Prefect server, which exited with -9" in _plain(machine.output)
    # The last line of the screen is on it: Rich cuts what does not fit.
    wait(lambda: last_line in _plain(machine.output).rpartition("restarted the Prefect server")[2], 10)
    wait(lambda: _answers(machine.prefect_port), 60)
    assert _registered(machine)["deployments"], "it has been asked while the screen went on"
    assert machine.end(signal.SIGTERM) == []
    assert machine.process.returncode == 0, _plain(machine.output)[-3000:]
    assert machine.processes() == []


def test_a_server_that_answers_but_executes_no_automation_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_tables(tmp_path)
    monkeypatch.setenv("PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED", "false")
    with (
        prefect_serving(tmp_path) as address,
        temporary_settings({PREFECT_API_URL: address}),
        pytest.raises(InfrastructureError, match="has executed no automation within 3 s"),
    ):
        wait_for_automations(lambda: False, timeout_s=3)


def _plain(printed: str) -> str:
    """Without escape sequences of cursor and color."""
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
