"""The real thing: a Prefect server, the command line as a process, SQLite, files."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import forked
import psutil
import pytest
from machine import OFTEN, PATIENCE_S, SMALL, Machine, at_work, how_far, wait
from registering import copy_home
from servers import free_port, give_store, give_tables
from working_folder import own_project

from .golden import golden_home, session_folder
from .retraining_programs import be_a_stranger
from .retrainings import Retrainings

AUTHENTICATION = {
    "PREFECT_SERVER_API_AUTH_STRING": "operator:a-word-of-prefect",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "a-word-of-mlflow",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-key-of-mlflow",
}
CL = Path(sys.executable).with_name("cl")


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prefect server's API, started as the locked packages give it, on empty tables."""
    home = tmp_path_factory.mktemp("prefect")
    give_tables(home)
    with prefect_serving(home) as address:
        yield address


@contextlib.contextmanager
def prefect_serving(home: Path) -> Iterator[str]:
    """The address of the API of a Prefect server over the database in `home`."""
    port = free_port()
    environment = {**os.environ, "PREFECT_HOME": str(home)}
    environment.pop("PREFECT_API_URL", None)
    command = [str(CL.with_name("prefect")), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}/api"
    try:
        wait_until_healthy(address, server, home / "server.log")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def wait_until_healthy(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no answer from {address}: {log.read_text()}")


@dataclass(frozen=True)
class CommandLine:
    """`cl` with a home of its own.

    Args:
        home: Its CL_HOME.
        prefect: Address of a Prefect server's API; without one, each command starts its own.
        folder: That such a command is started in; the test's own without one.
    """

    home: Path
    prefect: str = ""
    folder: Path | None = None

    def start(
        self, *arguments: str, recipe: dict[str, object] | None = None, under: Sequence[str] = (), **settings: str
    ) -> "subprocess.Popen[str] | forked.Program":
        """A command as a process in a session of its own, so that what it leaves behind can be seen.

        It is the installed program where it runs under another one or with a Prefect server of its own; forked, which
        saves ten seconds of imports, where all that it needs is there.

        Args:
            arguments: Of `cl`.
            recipe: Written to a file and given to it.
            under: Another command that runs it.
            settings: Environment variables.
        """
        if recipe is not None:
            file = self.home.parent / "recipe.json"
            file.write_text(json.dumps(recipe))
            arguments = (*arguments, "--recipe", str(file))
        servers = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL")
        environment = {name: value for name, value in os.environ.items() if name not in servers}
        environment |= {"CL_HOME": str(self.home), **settings}
        if self.prefect:
            environment["PREFECT_API_URL"] = self.prefect
            if not under:
                return forked.cl(*arguments, environment=environment)
        return subprocess.Popen(
            [*under, str(CL), *arguments],
            env=environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # As from a terminal: a shell that runs the tests in the background makes them ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(
        self, *arguments: str, recipe: dict[str, object] | None = None, under: Sequence[str] = (), **settings: str
    ) -> "Finished":
        """A command, run to its end."""
        with self.start(*arguments, recipe=recipe, under=under, **settings) as process:
            out, err = process.communicate(timeout=600)
        return Finished(process.returncode, out, err)

    def stranger(self, *lines: str, arguments: Sequence[str] = ()) -> None:
        """Run lines of Python beside the home, as somebody does who has MLflow and torch, but not this project."""
        environment = {
            **os.environ,
            "CL_HOME": str(self.home),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.home}/mlflow.db",
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        }
        program = "\n".join(lines)
        with forked.Program(be_a_stranger, program, self.home.parent, tuple(arguments), environment=environment) as run:
            _, err = run.communicate(timeout=300)
        assert run.returncode == 0, err

    def progress(self) -> list[dict[str, float]]:
        """What trainings have logged so far."""
        logs = self.home.glob("trainings/*/progress.jsonl")
        return [json.loads(line) for log in logs for line in log.read_text().split("\n")[:-1]]


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The last line of what it said went wrong."""
        return self.err.strip().splitlines()[-1]


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all test processes of this run know."""
    return session_folder(tmp_path_factory.getbasetemp())


@pytest.fixture
def cl(tmp_path: Path, prefect_server: str) -> CommandLine:
    give_store(tmp_path / "home")
    return CommandLine(tmp_path / "home", prefect_server)


@pytest.fixture(scope="module")
def shared_cl(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> CommandLine:
    """One home for the tests of a file, which build on each other's results."""
    home = tmp_path_factory.mktemp("shared") / "home"
    give_store(home)
    return CommandLine(home, prefect_server)


@pytest.fixture(scope="session")
def retrainings(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Retrainings:
    return Retrainings(prefect_server, tmp_path_factory.mktemp("homes"))


@pytest.fixture(scope="session")
def golden(session: Path, prefect_server: str) -> Path:
    """A home to read and to copy (golden.py)."""
    return golden_home(session, prefect_server)


@pytest.fixture(scope="module")
def golden_cl(golden: Path, tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> CommandLine:
    """A copy for the tests of a file, which build on each other's results."""
    home = tmp_path_factory.mktemp("copy") / "home"
    copy_home(golden, home, "mlflow-artifacts")
    return CommandLine(home, prefect_server)


@pytest.fixture(scope="session")
def scheduled_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """`cl up` with a run every half minute, started in a folder that has modules of its own.

    Its path has to be quoted in a shell, and its brackets mean something in patterns and in markup.
    """
    folder = tmp_path_factory.mktemp("machine") / "a folder [1] & more"
    with at_work(folder, OFTEN, working_folder=own_project(folder)) as machine:
        yield machine


@pytest.fixture(scope="session")
def machine(scheduled_machine: Machine) -> Machine:
    """The same, with nothing to do: one for all tests of a process, which are apart by the names of their models."""
    often = scheduled_machine.ask("deployments/name/retrain/often")
    scheduled_machine.ask(f"deployments/{often['id']}/pause_deployment", {})
    return scheduled_machine


@pytest.fixture(scope="session")
def two_runs(machine: Machine) -> tuple[str, str]:
    """Two runs of one training at once, both over; there is version 1 of shapes then.

    While one of them trains, the Prefect server is killed, and started again by `cl up`.
    """
    long = {**SMALL, "training": {**SMALL["training"], "epochs": 100}}
    first, second = machine.run("retrain/small", {**long, "force": True}), machine.run("retrain/small", long)
    wait(lambda: bool(how_far(machine, first) or how_far(machine, second)), PATIENCE_S, every=0.5)
    server = machine.service("Prefect server")
    server.kill()
    wait(lambda: machine.pid("Prefect server") not in (0, server.pid), 60)
    for run in (first, second):
        machine.wait_for(run)
    return first, second


def outer_address() -> str:
    """One of this machine's addresses that is not the loopback's; empty where there is none."""
    every = [one.address for some in psutil.net_if_addrs().values() for one in some if one.family.name == "AF_INET"]
    return next((one for one in every if not one.startswith("127.")), "")


@pytest.fixture(scope="session")
def address() -> str:
    """Where other machines reach this one."""
    if not (found := outer_address()):
        pytest.skip("this machine has no address but its loopback")
    return found


# What takes longest begins first, so that no process is left alone with it.
LONGEST_FIRST = (
    *("test_at_work", "test_ui", "test_up", "test_recovery", "test_ray_trainer", "test_nights", "test_retrain"),
    *("test_failpoints", "test_doctor", "test_two_runs", "test_postgresql", "test_upgrade", "test_faults"),
    *("test_notifications", "test_several_columns", "test_steps", "test_captioned_images", "test_pair_models"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files, and give each test the time that it needs on a busy machine."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("timeout") is None:
            # What hangs is named by what waits for it; a busy machine is no reason to fail.
            item.add_marker(pytest.mark.timeout(900))

    def rank(item: pytest.Item) -> int:
        name = item.path.stem
        return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=rank)
