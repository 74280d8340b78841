"""`cl doctor` finds what killed processes left, says what it is, fixes it on request, and leaves the living alone."""

import re
import signal
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from prefect import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Cancelling
from servers import free_port

from cl_core.errors import InputError
from flows.cli.operations import doctor
from tasks.server import diagnostics

from .retrainings import NAME, Retrainings, audited, ended, log, wait_for

KILLED = {
    "artifact_dir.staged:20": (
        "Prefect reports Running, but process",
        "incomplete: the process that wrote it has exited",
        "is recorded as the holder of a lock that no process holds",
    ),
    "register.model-created": (
        "Prefect reports Running, but process",
        f"a run of model '{NAME}' has no version",
        f"the upload of a model of '{NAME}' did not finish",
    ),
    "promote.intent-written": ("Prefect reports Running, but process", f"a promotion of '{NAME}' did not finish"),
}


def test_what_each_kill_leaves_is_found_and_fixed_and_the_run_resumes(
    retrainings: Retrainings, prefect_server: str
) -> None:
    undisturbed, home = retrainings.undisturbed(), retrainings.home()
    for place, left in KILLED.items():
        assert retrainings.run(home, f"{place}=kill") == -signal.SIGKILL, log(home)
        code, said = retrainings.doctor(home)
        assert code == 1
        for sentence in left:
            assert sentence in words(said), said
        assert state(home, prefect_server) == "Running", "without --fix nothing is changed"

        code, said = retrainings.doctor(home, fix=True)
        assert (code, said.count("fixed: ")) == (0, said.count("--fix")), said
        assert state(home, prefect_server) == "Crashed"
    assert retrainings.run(home) == 0, log(home)
    assert audited(home, undisturbed.weights).problems == []
    assert retrainings.doctor(home)[0] == 0


def test_a_stopped_process_is_alive_and_gives_way_to_the_one_that_takes_over_its_run(
    retrainings: Retrainings, prefect_server: str
) -> None:
    undisturbed, home = retrainings.undisturbed(), retrainings.home()
    process = retrainings.start(home, "pretrain.step-taken:20=stop")
    stopped = psutil.Process(process.pid)
    wait_for(lambda: stopped.status() == psutil.STATUS_STOPPED, home)
    code, said = retrainings.doctor(home, fix=True)
    assert code == 0, said
    assert stopped.status() == psutil.STATUS_STOPPED, "the doctor lets the living be"
    # As Prefect does once its heartbeats have been missing: it has crashed, and another process takes over.
    assert retrainings.run(home) == 0, log(home)
    assert ended(process) == -signal.SIGKILL
    assert audited(home, undisturbed.weights).problems == []


def test_a_process_whose_run_is_over_for_prefect_is_ended(
    retrainings: Retrainings, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = retrainings.home()
    process = retrainings.start(home, "pretrain.step-taken:20=stop")
    orphan = psutil.Process(process.pid)
    wait_for(lambda: orphan.status() == psutil.STATUS_STOPPED, home)
    monkeypatch.setenv("CL_HOME", str(home))
    monkeypatch.setattr(diagnostics, "_GRACE", timedelta(0))
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run_id(home), Cancelled(), force=True)
        [found] = diagnostics._flow_runs()
        assert "Prefect reports Cancelled, but process" in found.what
        assert found.repair is not None
        found.repair()
        assert list(diagnostics._flow_runs()) == []
    assert ended(process) == -signal.SIGKILL


def test_a_run_that_was_being_cancelled_when_its_process_died_is_cancelled(
    retrainings: Retrainings, prefect_server: str
) -> None:
    home = retrainings.home()
    assert retrainings.run(home, "plan.made=kill") == -signal.SIGKILL, log(home)
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id(home), Cancelling(), force=True)
    code, said = retrainings.doctor(home, fix=True)
    assert code == 0 and "marks the run as cancelled" in words(said), said
    assert state(home, prefect_server) == "Cancelled"


def words(said: str) -> str:
    """The cells of a table put together again."""
    rows = [line.split("│")[1:-1] for line in said.splitlines() if line.startswith("│")]
    return re.sub(
        r"\s+", " ", " ".join(" ".join(cell.strip() for cell in column) for column in zip(*rows, strict=True))
    )


def run_id(home: Path) -> str:
    return home.with_suffix(".run").read_text()


def state(home: Path, prefect_server: str) -> str | None:
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        return client.read_flow_run(run_id(home)).state_name


def test_servers_that_do_not_answer_are_findings_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("CL_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    quick = {PREFECT_API_URL: f"{address}/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(quick):
        prefect, mlflow = diagnostics.diagnose()
    assert prefect.what.startswith("Prefect does not answer") and prefect.repair is None
    assert mlflow.what.startswith(f"MLflow was not checked: MLflow at {address} does not answer")


def test_while_the_servers_start_nothing_is_compared_with_another_prefect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CL_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "work").mkdir()
    with FileLock(tmp_path / "work" / "up.lock"), pytest.raises(InputError, match="is starting for this CL_HOME"):
        doctor()
