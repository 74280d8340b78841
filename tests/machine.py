"""A machine at work: `cl up` as a process, and its Prefect server asked through its API."""

import base64
import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from servers import ANSWERED_S, free_port, give_store, give_tables

from cl_core import processes

CL = Path(sys.executable).with_name("cl")
# Lines and columns of the terminal that `cl up` is started on.
TERMINAL = (24, 100)
# Until a wait has failed: long enough for a machine that is busy with other things. What must be quick says so itself.
PATIENCE_S = 400
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

# Seconds of training on a small network: what is tested is everything around it.
SMALL: dict[str, Any] = {
    "model_name": "shapes",
    "data": {"name": "shapes", "source": "synthetic", "source_options": {"count": 400, "size": 16}, "image_size": 16},
    "training": {"encoder": "mlp", "epochs": 2, "batch_size": 64, "warmup_epochs": 0.1, "precision": "fp32"},
    "evaluation": {"resamples": 200},
    "compute": {"threads": 1, "checkpoint_every_s": 0.1, "report_every_s": 0},
}
LONG = {**SMALL, "model_name": "long", "training": {**SMALL["training"], "epochs": 20_000}}

DECLARATION: dict[str, Any] = {
    "work_pool": "counterpoint",
    "deployments": [
        {"name": "small", "flow": "flows.retrain.retrain", "parameters": SMALL},
        {
            "name": "free",
            "flow": "flows.retrain.retrain",
            "parameters": {name: value for name, value in SMALL.items() if name != "model_name"},
        },
        {"name": "promote", "flow": "flows.champion.promote"},
        {"name": "rollback", "flow": "flows.champion.rollback"},
    ],
}

OFTEN: dict[str, Any] = {
    **DECLARATION,
    "deployments": [
        *DECLARATION["deployments"],
        {
            "name": "often",
            "flow": "flows.retrain.retrain",
            # With two for ingestion, processes are spawned.
            "parameters": {
                **SMALL,
                "model_name": "scheduled",
                "compute": {**SMALL["compute"], "ingest_workers": 2},
            },
            "schedules": [{"slug": "often", "interval_s": 30}],
        },
    ],
}


@dataclass
class Machine:
    """`cl up` over a home of its own.

    Args:
        home: Its CL_HOME.
        declaration: Of what is deployed.
        settings: More of its environment.
        folder: That `cl up` is started in; the test's own without one.
    """

    home: Path
    declaration: dict[str, Any]
    settings: dict[str, str] = field(default_factory=dict)
    prefect_port: int = field(default_factory=free_port)
    mlflow_port: int = field(default_factory=free_port)
    host: str = "127.0.0.1"
    folder: Path | None = None
    process: "subprocess.Popen[str] | None" = None

    @property
    def api(self) -> str:
        return f"http://{self.host}:{self.prefect_port}/api"

    @property
    def mlflow(self) -> str:
        return f"http://{self.host}:{self.mlflow_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Of commands in another terminal."""
        servers = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL")
        inherited = {name: value for name, value in os.environ.items() if name not in servers}
        # Where Prefect's own worker asks every 10 s for runs, nothing happens for 5 s before each of them.
        often = {"PREFECT_WORKER_QUERY_SECONDS": "3", "CL_LOOK_EVERY_S": "10"}
        return {**inherited, **often, "CL_HOME": str(self.home), **self.settings}

    @property
    def credentials(self) -> dict[str, str]:
        """Headers of a request to a Prefect with authentication."""
        said = self.settings.get("PREFECT_SERVER_API_AUTH_STRING", "")
        return {"Authorization": f"Basic {base64.b64encode(said.encode()).decode()}"} if said else {}

    @property
    def output(self) -> str:
        """What `cl up` has printed."""
        return (self.home.parent / "up.out").read_text()

    def command(self) -> list[str]:
        declared = self.home.parent / "prefect.yaml"
        # What is JSON is YAML.
        declared.write_text(json.dumps(self.declaration))
        ports = ["--prefect-port", str(self.prefect_port), "--mlflow-port", str(self.mlflow_port)]
        return [str(CL), "up", "--deployments", str(declared), *ports, "--host", self.host]

    def start(self, *, on_a_terminal: bool = False) -> None:
        """Run `cl up`, and wait until it says that it is ready."""
        self.home.parent.mkdir(parents=True, exist_ok=True)
        printed = self.home.parent / "up.out"
        with printed.open("w") as file, _terminal(printed) if on_a_terminal else contextlib.nullcontext(file) as out:
            self.process = subprocess.Popen(
                self.command(),
                env=self.environment | ({"TERM": "xterm"} if on_a_terminal else {}),
                cwd=self.folder,
                stdout=out,
                stderr=out,
                text=True,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        wait(lambda: "ready after" in self.output or self.process.poll() is not None, 180, lambda: self.output)
        assert "ready after" in self.output, self.output
        # Prefect says so if it has been imported before it was told which server to ask.
        assert "temporary server" not in self.output, self.output

    def end(self, number: signal.Signals = signal.SIGINT) -> list[psutil.Process]:
        """Stop `cl up` as a person does; what it leaves running."""
        assert self.process is not None
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        self.process.wait(120)
        return [left for left in family if left.is_running() and left.status() != psutil.STATUS_ZOMBIE]

    def cl(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command in another terminal."""
        return subprocess.run([str(CL), *arguments], env=self.environment, capture_output=True, text=True, timeout=240)

    def ask(self, path: str, body: dict[str, Any] | None = None, *, method: str = "") -> Any:
        """What the Prefect server answers; asked again while it is down."""
        request = urllib.request.Request(
            f"{self.api}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **self.credentials},
            method=method or ("GET" if body is None else "POST"),
        )
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(request, timeout=ANSWERED_S) as answer:
                    text = answer.read()
                    return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                if error.code < 500 or time.monotonic() > deadline:
                    raise AssertionError(f"{path}: {error.code} {error.read().decode()}") from error
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.3)

    def run(self, deployment: str, parameters: dict[str, Any] | None = None, **job_variables: Any) -> str:
        """Start a run of `FLOW/NAME`, as the UI does; its id."""
        found = self.ask(f"deployments/name/{deployment}")
        wanted = {"parameters": parameters or {}, "job_variables": job_variables}
        return str(self.ask(f"deployments/{found['id']}/create_flow_run", wanted)["id"])

    def state(self, run: str) -> dict[str, Any]:
        state: dict[str, Any] = self.ask(f"flow_runs/{run}")["state"]
        return state

    def wait_for(self, run: str, *types: str, timeout: float = PATIENCE_S) -> dict[str, Any]:
        """The run's state, once it is of one of these types; without any, once it is over."""
        wanted = set(types) or FINAL
        # A server that is asked all the time is busy with that.
        wait(
            lambda: self.state(run)["type"] in wanted,
            timeout,
            lambda: f"{self.state(run)}\n{self.logs(run)}",
            every=1,
        )
        return self.state(run)

    def states(self, run: str) -> list[str]:
        """The types of all states that the run has been in, those that passed quickly too."""
        return [state["type"] for state in self.ask(f"flow_run_states/?flow_run_id={run}")]

    def logs(self, run: str) -> str:
        """What the run has logged."""
        found = self.ask("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"})
        return "\n".join(line["message"] for line in found)

    def wait_for_log(self, run: str, sentence: str, timeout: float = 60) -> None:
        """Return once the run has logged it: logs arrive some seconds after the event."""
        wait(lambda: sentence in self.logs(run), timeout, lambda: f"no {sentence!r} in {self.logs(run)}", every=0.5)

    def process_of(self, run: str) -> psutil.Process:
        """The process that a run's flow is in."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("PREFECT__FLOW_RUN_ID") == run and "multiprocessing" not in str(
                    process.cmdline()
                ):
                    return process
        raise AssertionError(f"no process of flow run {run}")

    def processes(self) -> list[psutil.Process]:
        """All that run for this home."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("CL_HOME") == str(self.home) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def service(self, name: str) -> psutil.Process:
        """The process of a service."""
        return psutil.Process(self.pid(name))

    def pid(self, name: str) -> int:
        """The number of a service's process, which may have ended; 0 while none is remembered."""
        record = json.loads((self.home / "work" / "services.json").read_text())
        return next((processes.pid_of(one["process"]) for one in record if one["name"] == name), 0)


@contextlib.contextmanager
def _terminal(printed: Path) -> Iterator[int]:
    """A terminal's end for a program, for as long as it is opened; what comes out of it is appended to a file."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *TERMINAL, 0, 0))

    def copy() -> None:
        # Its last user has gone: Linux says so with EIO.
        with (
            printed.open("ab", buffering=0) as out,
            os.fdopen(ours, "rb", buffering=0) as source,
            contextlib.suppress(OSError),
        ):
            while some := source.read(4096):
                out.write(some)

    threading.Thread(target=copy, daemon=True).start()
    try:
        yield theirs
    finally:
        os.close(theirs)


def wait(
    condition: Callable[[], bool], timeout: float, what: Callable[[], str] = lambda: "", *, every: float = 0.2
) -> None:
    """Return once it holds; fail when it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what()}"
        time.sleep(every)


@contextlib.contextmanager
def at_work(
    folder: Path,
    declaration: dict[str, Any] = DECLARATION,
    *,
    host: str = "127.0.0.1",
    new: bool = False,
    working_folder: Path | None = None,
    **settings: str,
) -> Iterator[Machine]:
    """A machine that is ready; nothing of it is left afterwards.

    Args:
        folder: That its home is in.
        declaration: Of what is deployed.
        host: That its servers listen on.
        new: Whether its servers make their tables themselves.
        working_folder: That `cl up` is started in.
        settings: More of its environment.
    """
    machine = Machine(folder / "home", declaration, settings, host=host, folder=working_folder)
    if not new and "CL_DATABASE_URL" not in settings:
        give_tables(machine.home / "prefect")
        give_store(machine.home)
    try:
        machine.start()
        yield machine
    finally:
        if machine.process is not None and machine.process.poll() is None:
            machine.end()
        for left in machine.processes():
            left.kill()


def how_far(machine: Machine, run: str) -> float:
    """How far the run's training is, in percent."""
    found = machine.ask(
        "artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}, "type": {"any_": ["progress"]}}}
    )
    return float(found[0]["data"]) if found else 0.0


def start(machine: Machine, name: str) -> str:
    """A run that shares its training with no other."""
    training = {**SMALL["training"], "epochs": 75, "warmup_epochs": 1, "seed": sum(name.encode())}
    return machine.run("retrain/free", {**SMALL, "model_name": name, "training": training})


def start_to_train(machine: Machine, name: str) -> tuple[str, psutil.Process]:
    """A run that has stored a checkpoint, and its process, which is stopped in the middle of its training."""
    before = with_checkpoints(machine)
    run = start(machine, name)
    # Its training goes on for seconds after the first checkpoint: time to stop it.
    wait(lambda: with_checkpoints(machine) > before, PATIENCE_S, lambda: machine.logs(run), every=0.02)
    process = machine.process_of(run)
    process.suspend()
    assert machine.state(run)["type"] == "RUNNING"
    return run, process


def with_checkpoints(machine: Machine) -> set[Path]:
    """The folders of trainings that have any."""
    return {found.parents[2] for found in machine.home.glob("trainings/*/checkpoints/step-*/manifest.json")}
