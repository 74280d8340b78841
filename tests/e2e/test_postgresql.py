"""Both servers on Debian's PostgreSQL, in one database, without a SQLite file and without showing the password."""

import contextlib
import subprocess
from collections.abc import Iterator

import psutil
import psycopg
import pytest
from machine import CL, DECLARATION, Machine, at_work
from postgres import PASSWORD, postgresql


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql() as address:
        yield address


@pytest.fixture(scope="module")
def machine(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with at_work(tmp_path_factory.mktemp("pg"), DECLARATION, CL_DATABASE_URL=database) as machine:
        yield machine


def test_a_run_ends_with_a_version_and_both_servers_keep_it_in_the_database(machine: Machine, database: str) -> None:
    run = machine.run("retrain/small")
    assert machine.wait_for(run)["type"] == "COMPLETED", machine.logs(run)
    with psycopg.connect(database) as connection:
        (runs,) = connection.execute("SELECT count(*) FROM prefect.flow_run WHERE id = %s", [run]).fetchone()
        (versions,) = connection.execute("SELECT count(*) FROM mlflow.model_versions WHERE name = 'shapes'").fetchone()
    assert (runs, versions) == (1, 1)
    assert not list(machine.home.rglob("*.db"))


def test_the_password_is_in_no_command_line_no_log_and_no_environment_of_a_run(machine: Machine) -> None:
    family = machine.processes()
    assert len(family) >= 4
    with contextlib.suppress(psutil.NoSuchProcess):
        assert not [one.cmdline() for one in family if PASSWORD in " ".join(one.cmdline())]
    worker = machine.service("worker")
    assert PASSWORD not in str(worker.environ())
    texts = {path: path.read_bytes() for path in machine.home.rglob("*") if path.is_file()}
    assert not [path for path, text in texts.items() if PASSWORD.encode() in text]
    assert PASSWORD not in machine.output


def test_after_a_restart_everything_is_still_there(machine: Machine) -> None:
    before = machine.ask("flow_runs/count", {})
    assert machine.end() == []
    machine.start()
    assert machine.ask("flow_runs/count", {}) >= before >= 1


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("mysql://u:secret-word@127.0.0.1/x", "CL_DATABASE_URL must be postgresql://"),
        ("postgresql://u:secret-word@127.0.0.1:1/x", "cannot connect to PostgreSQL at postgresql://127.0.0.1:1/x "),
    ],
)
def test_a_wrong_address_is_refused_without_its_password(machine: Machine, address: str, sentence: str) -> None:
    other = Machine(machine.home.parent / "other" / "home", DECLARATION, {"CL_DATABASE_URL": address})
    other.home.parent.mkdir(exist_ok=True)
    command = [str(CL), *other.command()[1:]]
    refused = subprocess.run(command, env=other.environment, capture_output=True, text=True, timeout=120)
    assert refused.returncode in (1, 2)
    assert sentence in refused.stderr
    assert "secret-word" not in refused.stderr + refused.stdout
