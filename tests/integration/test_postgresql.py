"""Both servers on Debian's PostgreSQL, reached from elsewhere: they ask who comes, and no password is shown."""

import contextlib
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from machine import CL, DECLARATION, Machine, at_work
from postgres import PASSWORD, postgresql

from tasks.adapters.mlflow.artifact_locations import moved_experiments, proxied_experiments, relocate
from tasks.adapters.mlflow.compat import LOCATIONS
from tasks.runtime.settings import Settings
from tasks.server.services import mlflow_database_url

from .conftest import AUTHENTICATION, outer_address


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql() as address:
        yield address


@pytest.fixture(scope="module")
def machine(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    settings, host = {"CL_DATABASE_URL": database}, "127.0.0.1"
    if elsewhere := outer_address():
        settings, host = {**AUTHENTICATION, **settings}, elsewhere
    with at_work(tmp_path_factory.mktemp("pg"), DECLARATION, host=host, **settings) as machine:
        yield machine


@pytest.fixture(scope="module")
def completed(machine: Machine) -> str:
    """A run that has ended with a version."""
    run = machine.run("retrain/small")
    assert machine.wait_for(run)["type"] == "COMPLETED", machine.logs(run)
    return run


def test_a_run_ends_with_a_version_and_both_servers_keep_it_in_the_database(
    machine: Machine, database: str, completed: str
) -> None:
    with psycopg.connect(database) as connection:
        (runs,) = connection.execute("SELECT count(*) FROM prefect.flow_run WHERE id = %s", [completed]).fetchone()
        (versions,) = connection.execute("SELECT count(*) FROM mlflow.model_versions WHERE name = 'shapes'").fetchone()
    assert (runs, versions) == (1, 1)
    # MLflow's list of its users is a file of its own.
    users = ["mlflow-users.db"] if outer_address() else []
    assert [path.name for path in machine.home.rglob("*.db")] == users


def test_both_servers_ask_everyone_who_comes(machine: Machine, address: str) -> None:
    for url in (f"{machine.api}/flows/count", f"{machine.mlflow}/api/2.0/mlflow/registered-models/search"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(url), timeout=30)
        refused.value.close()
        assert refused.value.code == 401, url


@pytest.mark.usefixtures("completed")
def test_no_password_is_in_a_command_line_a_log_the_database_or_the_environment_of_a_run(
    machine: Machine, database: str
) -> None:
    family = machine.processes()
    assert len(family) >= 4
    with contextlib.suppress(psutil.NoSuchProcess):
        assert not [one.cmdline() for one in family if PASSWORD in " ".join(one.cmdline())]
    worker = machine.service("worker")
    assert PASSWORD not in str(worker.environ())
    texts = {path: path.read_bytes() for path in machine.home.rglob("*") if path.is_file()}
    assert not [path for path, text in texts.items() if PASSWORD.encode() in text]
    assert PASSWORD not in machine.output
    commands = " ".join(word for one in family for word in one.cmdline())
    for secret in (value.rpartition(":")[2] for value in AUTHENTICATION.values()):
        assert secret not in commands + machine.output
        assert not [path for path, text in texts.items() if secret.encode() in text]
    rows = rows_of(database)
    assert any("models:/shapes/1" in row for row in rows)
    for secret in (PASSWORD, *(value.rpartition(":")[2] for value in AUTHENTICATION.values())):
        assert not [row for row in rows if secret in row]


def rows_of(database: str) -> list[str]:
    """All that both servers keep."""
    with psycopg.connect(database) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('prefect', 'mlflow')"
        ).fetchall()
        return [row for (table,) in tables for (row,) in connection.execute(f"SELECT one::text FROM {table} AS one")]


@pytest.mark.sweep
@pytest.mark.usefixtures("completed")
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


@pytest.mark.usefixtures("completed")
def test_locations_are_rewritten_once_the_tables_are_copied(machine: Machine, database: str, tmp_path: Path) -> None:
    address, here = mlflow_database_url(Settings(database=database)), machine.home / "mlflow-artifacts"
    elsewhere = tmp_path / "new" / "mlflow-artifacts"
    relocate(address, proxied_experiments(address, here), tmp_path / "first")
    relocate(address, moved_experiments(address, elsewhere), tmp_path / "second")
    with psycopg.connect(database) as connection:
        connection.execute("SET search_path TO mlflow")
        for table, column in LOCATIONS:
            query = f"SELECT count(*) FILTER (WHERE {column} LIKE %s), count(*) FROM {table} WHERE {column} LIKE %s"
            found = connection.execute(query, [f"%{elsewhere}%", "%mlflow-artifacts/%"]).fetchone()
            assert found is not None and found[0] == found[1] >= (column != "source"), table
        [backup] = (tmp_path / "second").iterdir()
        connection.execute("CREATE TEMPORARY TABLE restored (LIKE runs)")
        with connection.cursor().copy("COPY restored FROM STDIN WITH (FORMAT csv, HEADER)") as copy:
            copy.write((backup / "runs.csv").read_bytes())
        before = connection.execute("SELECT count(*) FROM restored WHERE artifact_uri LIKE %s", [f"%{here}/%"])
        assert before.fetchone() == connection.execute("SELECT count(*) FROM runs").fetchone()
