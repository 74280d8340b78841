"""Which runs `cl up` closes and reschedules, against a real Prefect server; test_recovery.py has all of it."""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from servers import ANSWERED_S, answering, free_port

from cl_core import processes
from tasks.runtime.run_owner import RunOwner
from tasks.server import recovery
from tasks.server.recovery import RunRecovery


class Pool:
    """A work pool of its own on a server."""

    def __init__(self, server: str, home: Path) -> None:
        self.server, self.home, self.name = server, home, f"pool-{uuid.uuid4().hex[:8]}"
        self.ask("work_pools/", {"name": self.name, "type": "process"})
        self.flow = self.ask("flows/", {"name": "retrain"})["id"]
        deployment = {"name": self.name, "flow_id": self.flow, "work_pool_name": self.name}
        self.deployment = self.ask("deployments/", deployment)["id"]

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.server}/{path}", data, {"Content-Type": "application/json"})
        for _ in range(9):
            # SQLite has one writer at a time.
            with (
                contextlib.suppress(urllib.error.HTTPError),
                urllib.request.urlopen(request, timeout=ANSWERED_S) as answer,
            ):
                return json.load(answer)
            time.sleep(1)
        raise AssertionError(f"{path} {body}")

    def run(self, state: str, process: str = "", *, deployed: bool = True) -> str:
        """A run in that state, owned by a process."""
        if deployed:
            run = self.ask(f"deployments/{self.deployment}/create_flow_run", {})
        else:
            run = self.ask("flow_runs/", {"flow_id": self.flow})
        # One that has never run is cancelled at once.
        for each in ("RUNNING", state):
            self.ask(f"flow_runs/{run['id']}/set_state", {"state": {"type": each}, "force": True})
        if process:
            place = self.home / "work" / "runs" / f"{run['id']}.json"
            place.parent.mkdir(parents=True, exist_ok=True)
            lease = RunOwner(flow_run_id=run["id"], flow_run_name=run["name"], flow="retrain", process=process)
            place.write_text(lease.model_dump_json())
        return str(run["id"])

    def state(self, run: str) -> str:
        return str(self.ask(f"flow_runs/{run}")["state"]["name"])


@pytest.fixture
def pool(prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.setenv("CL_HOME", str(tmp_path))
    monkeypatch.setenv("CL_LOOK_EVERY_S", "0")
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield Pool(prefect_server, tmp_path)


@pytest.fixture(scope="module")
def ended() -> str:
    """A process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        return processes.token(process.pid)


def test_while_it_runs_a_dead_process_is_seen_twice_before_its_run_is_closed(pool: Pool, ended: str) -> None:
    dead, alive = pool.run("RUNNING", ended), pool.run("RUNNING", processes.token())
    unwanted, elsewhere = pool.run("CANCELLING", ended), Pool(pool.server, pool.home).run("RUNNING")
    command = pool.run("RUNNING", ended, deployed=False)
    run_recovery = RunRecovery(pool.name)
    assert run_recovery.recover() == []
    said = " ".join(run_recovery.recover())
    assert said.count("is marked as crashed") == 2 and said.count("is rescheduled") == 1
    assert said.count("is marked as cancelled") == 1
    states = [pool.state(run) for run in (dead, alive, unwanted, elsewhere, command)]
    assert states == ["AwaitingRetry", "Running", "Cancelled", "Running", "Crashed"]
    assert [path.stem for path in (pool.home / "work" / "runs").glob("*.json")] == [alive]
    assert run_recovery.recover() == []


def test_a_run_that_recorded_no_owner_is_closed_once_no_process_was_started_for_it(pool: Pool) -> None:
    """It was killed, and its worker with it, between the state Running and its record."""
    run, run_recovery = pool.run("RUNNING"), RunRecovery(pool.name)
    environment = {**os.environ, "PREFECT__FLOW_RUN_ID": run}
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1, env=environment) as process:
        assert run_recovery.recover() == [] == run_recovery.recover() and pool.state(run) == "Running"
        process.kill()
    assert run_recovery.recover() == []
    assert [said.split(": ", 1)[-1] for said in run_recovery.recover()] == [
        "it has no process",
        "its process had exited",
    ]
    assert pool.state(run) == "AwaitingRetry"


def test_when_it_starts_nothing_of_its_pool_is_at_work_but_what_has_a_living_process(pool: Pool, ended: str) -> None:
    other = Pool(pool.server, pool.home)
    states = {
        pool.run("PENDING"): "AwaitingRetry",
        pool.run("PENDING", processes.token()): "AwaitingRetry",
        pool.run("RUNNING"): "AwaitingRetry",
        pool.run("CANCELLING"): "Cancelled",
        pool.run("RUNNING", processes.token()): "Running",
        other.run("PENDING"): "Pending",
        other.run("RUNNING"): "Running",
    }
    assert len(RunRecovery(pool.name).recover_at_start()) == 3 * 2 + 1
    assert {run: pool.state(run) for run in states} == states


def test_a_run_that_stays_pending_has_no_process_either(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    run, run_recovery = pool.run("PENDING"), RunRecovery(pool.name)
    run_recovery.recover()
    assert run_recovery.recover() == [] and pool.state(run) == "Pending"
    monkeypatch.setattr(recovery, "_MAX_PENDING", timedelta(0))
    run_recovery.recover()
    assert len(run_recovery.recover()) == 2 and pool.state(run) == "AwaitingRetry"


def test_what_automations_leave_is_rescheduled_later_and_what_crashed_long_ago_is_not(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other, command = pool.run("CRASHED"), Pool(pool.server, pool.home), pool.run("CRASHED", deployed=False)
    foreign, run_recovery = other.run("CRASHED"), RunRecovery(pool.name)
    assert run_recovery.recover() == []
    monkeypatch.setattr(recovery, "_GRACE", timedelta(0))
    with monkeypatch.context() as patch:
        patch.setattr(recovery, "_MAX_CRASH_AGE", timedelta(0))
        assert run_recovery.recover() == []
    assert [sentence.split(" ", 2)[2] for sentence in run_recovery.recover()] == [
        "is rescheduled: its process had exited"
    ]
    assert [pool.state(each) for each in (run, foreign, command)] == ["AwaitingRetry", "Crashed", "Crashed"]


def test_a_run_that_has_moved_on_since_it_was_found_is_let_be(pool: Pool, ended: str) -> None:
    run = pool.run("RUNNING", ended)
    with recovery.get_client(sync_client=True) as client:
        found = client.read_flow_run(uuid.UUID(run))
        lease = recovery.run_owner.owner_of(run)
        pool.ask(f"flow_runs/{run}/set_state", {"state": {"type": "RUNNING"}, "force": True})
        assert recovery.mark_ended(client, found, lease, by="somebody") == ""
        assert recovery.mark_ended(client, client.read_flow_run(uuid.UUID(run)), None, by="somebody") == ""
        assert pool.state(run) == "Running" and recovery.run_owner.owner_of(run) == lease
        client.delete_flow_run(uuid.UUID(run))
        assert recovery.mark_ended(client, found, lease, by="somebody") == ""


def test_a_server_that_is_down_or_busy_is_asked_again_and_one_that_refuses_is_logged_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CL_LOOK_EVERY_S", "0")
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api", PREFECT_CLIENT_MAX_RETRIES: 0}):
        run_recovery = RunRecovery("any")
        assert run_recovery.recover() == []
        [said] = run_recovery.recover_at_start()
        assert said.startswith("cannot look for runs whose process has exited: ")
    with answering(503) as address, temporary_settings({PREFECT_API_URL: f"{address}/api"}):
        assert RunRecovery("any").recover() == []
    with answering(401) as address, temporary_settings({PREFECT_API_URL: f"{address}/api"}):
        run_recovery = RunRecovery("any")
        [said] = run_recovery.recover()
        assert "401" in said
        assert run_recovery.recover() == []
