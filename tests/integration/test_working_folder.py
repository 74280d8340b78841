"""People start commands where their data are, and that folder may have modules with the names of this project's."""

import json
import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
from machine import CL, DECLARATION, SMALL, at_work
from prefect.settings import PREFECT_API_URL, temporary_settings
from servers import give_tables

from cl_core.errors import InfrastructureError
from tasks.server.automation_check import wait_for_automations

from .conftest import prefect_serving

# With two workers, Ray starts them; with two for ingestion, processes are spawned.
SHARED = {**SMALL, "compute": {**SMALL["compute"], "workers": 2, "threads": 2, "ingest_workers": 2}}
MODULES = ("tasks.py", "flows/__init__.py", "cl_core/__init__.py", "prefect/__init__.py", "uvicorn.py", "numpy.py")


def own_project(folder: Path) -> Path:
    """A folder whose modules write the command that imports them into the file `imported` beside it."""
    for module in MODULES:
        path = folder / "project" / module
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "import sys\n"
            f"with open({str(folder / 'imported')!r}, 'a') as file:\n"
            "    print(__name__, sys.orig_argv, file=file)\n"
        )
    return folder / "project"


def imported(folder: Path) -> str:
    file = folder / "imported"
    return file.read_text() if file.exists() else ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path that has to be quoted in a shell, and whose brackets mean something in patterns and in markup."""
    folder = tmp_path_factory.mktemp("own") / "a folder [1] & more"
    folder.mkdir()
    return folder


def test_servers_worker_and_runs_of_a_machine_import_nothing_from_it(folder: Path) -> None:
    with at_work(folder, DECLARATION, working_folder=own_project(folder)) as machine:
        assert imported(folder) == ""
        run = machine.run("retrain/small", SHARED)
        assert machine.wait_for(run)["type"] == "COMPLETED", machine.logs(run)
        assert imported(folder) == ""
        automations = [one["name"] for one in machine.ask("automations/filter", {})]
    assert imported(folder) == ""
    exported = next(line for line in machine.output.splitlines() if "export CL_HOME=" in line)
    assert f"CL_HOME={machine.home}" in shlex.split(exported)
    # What has checked them is gone.
    assert "counterpoint: reschedule a crashed run" in automations
    assert "counterpoint: check that automations run" not in automations


def test_a_command_with_a_server_of_its_own_imports_nothing_from_it(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({name: SHARED[name] for name in ("data", "training", "compute")}))
    servers = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")
    give_tables(tmp_path / "home" / "prefect")
    finished = subprocess.run(
        [str(CL), "pretrain", "--recipe", str(recipe)],
        env={**{n: v for n, v in os.environ.items() if n not in servers}, "CL_HOME": str(tmp_path / "home")},
        cwd=own_project(tmp_path),
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert finished.returncode == 0, finished.stderr
    assert imported(tmp_path) == ""


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
