"""`cl up` over a temporary home for the fault sweep, and the runs that are started and watched there."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psutil
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from chaos.cases import RECIPE, WORK_POOL
from cl_core.errors import InfrastructureError
from tasks.runtime.run_owner import RunOwner, terminate_owner

_START_TIMEOUT_S = 300
_END_TIMEOUT_S = 120
_DEPLOYMENT = "retrain/chaos"


@dataclass(frozen=True)
class Stack:
    """`cl up` over a private home; Prefect's address is in the environment.

    Args:
        folder: Parent of all files; each run has a CL_HOME of its own in it.
        process: The process of `cl up`.
        deployment: Its runs are started.
    """

    folder: Path
    process: "subprocess.Popen[bytes]"
    deployment: UUID

    def home(self, name: str) -> Path:
        """Return the CL_HOME of one case."""
        return self.folder / "runs" / name

    def start(self, name: str, failpoints: str) -> UUID:
        """Start a run as the UI does."""
        environment = {"CL_HOME": str(self.home(name)), "CL_FAILPOINTS": failpoints}
        with get_client(sync_client=True) as client:
            run = client.create_flow_run_from_deployment(
                self.deployment,
                parameters={"model_name": name},
                name=name,
                job_variables={"env": environment},
                # The model's own queue would run one at a time.
                work_queue_name="default",
            )
        return run.id

    def run(self, run_id: UUID) -> FlowRun:
        """Return a run as Prefect knows it."""
        with get_client(sync_client=True) as client:
            return client.read_flow_run(run_id)

    def history(self, run_id: UUID) -> str:
        """Return the states that a run has been in, with their messages."""
        with get_client(sync_client=True) as client:
            states = client.read_flow_run_states(run_id)
        ordered = sorted(states, key=lambda state: state.timestamp)
        return ", ".join(f"{state.timestamp:%H:%M:%S} {state.name} {state.message or ''}".strip() for state in ordered)

    def owner(self, name: str, run_id: UUID) -> RunOwner | None:
        """Return the process that works on a run; None before there is one."""
        return RunOwner.read(self.home(name) / "work" / "runs" / f"{run_id}.json")

    def kill(self, name: str, run_id: UUID) -> None:
        """SIGKILL the process that works on a run."""
        owner = self.owner(name, run_id)
        if owner is not None:
            terminate_owner(owner)

    def processes(self, name: str) -> list[psutil.Process]:
        """Return the processes that run for one case."""
        running = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("CL_HOME") == str(self.home(name)):
                    running.append(process)
        return running


@contextlib.contextmanager
def stack(folder: Path, ports: tuple[int, int]) -> Iterator[Stack]:
    """Run `cl up`; its processes end when the context does.

    Args:
        folder: An empty folder.
        ports: Ports of Prefect and MLflow, to which this process's environment points already.

    Raises:
        InfrastructureError: When it does not start.
    """
    declaration = folder / "prefect.yaml"
    deployment = {"name": _DEPLOYMENT.partition("/")[2], "flow": "flows.retrain.retrain", "parameters": RECIPE}
    # JSON is YAML.
    declaration.write_text(json.dumps({"work_pool": WORK_POOL, "deployments": [deployment]}))
    command = [sys.executable, "-c", "from flows.cli.app import main; main()", "up", "--deployments", str(declaration)]
    command += ["--prefect-port", str(ports[0]), "--mlflow-port", str(ports[1])]
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield Stack(folder, process, _deployed(process, ports[0], folder / "up.log"))
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_TIMEOUT_S)
        process.kill()


def _deployed(process: "subprocess.Popen[bytes]", port: int, log: Path) -> UUID:
    """Return the deployment once it is registered."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        # Prefect's own client would wait ever longer for a server that is starting.
        with (
            contextlib.suppress(OSError, ObjectNotFound),
            socket.create_connection(("127.0.0.1", port), 1),
            get_client(sync_client=True) as client,
        ):
            return client.read_deployment_by_name(_DEPLOYMENT).id
        time.sleep(1)
    raise InfrastructureError(f"`cl up` did not start for the sweep; the end of its log: {log.read_text()[-1000:]}")
