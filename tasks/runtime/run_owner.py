"""Run owners: which process works on a flow run, in a file that exists while it does.

Prefect knows a run's state, not its process. The file names the process, so that `cl doctor` can compare the two, and
so that a rescheduled run ends the process that worked on it before: a stopped process, or one that was cut off from
Prefect, would otherwise wake up beside it and hold its locks.
"""

import contextlib
from pathlib import Path
from typing import Any

import psutil
from prefect.client.schemas.objects import FlowRun

from cl_core import artifact_dir, processes
from tasks.runtime.locks import OwnerRecord
from tasks.runtime.settings import WORKER_FLOW_RUN, Settings

_END_TIMEOUT_S = 30


class RunOwner(OwnerRecord):
    """The process that works on a flow run."""

    flow_run_id: str
    flow_run_name: str
    flow: str


def claim(flow: Any, flow_run: FlowRun, state: Any) -> None:
    """Record that this process owns the run, after ending the process of this host that owned it before."""
    del state
    owner = RunOwner(
        flow_run_id=str(flow_run.id), flow_run_name=flow_run.name, flow=flow.name, process=processes.token()
    )
    before = owner_of(owner.flow_run_id)
    if before is not None and not before.is_stale and before.process != owner.process:
        terminate_owner(before)
    place = _place(owner.flow_run_id)
    place.parent.mkdir(parents=True, exist_ok=True)
    artifact_dir.write_text(place, owner.model_dump_json() + "\n")


def release(flow: Any, flow_run: FlowRun, state: Any) -> None:
    """Remove the record, because the run has ended."""
    del flow, state
    forget_owner(str(flow_run.id))


def run_owners() -> list[RunOwner]:
    """Return all run owners under CL_HOME, exited processes included."""
    owners = map(RunOwner.read, sorted(Settings.from_environment().runs.glob("*.json")))
    return [owner for owner in owners if owner is not None]


def owner_of(flow_run_id: str) -> RunOwner | None:
    """Return the owner of a flow run; None when no process has begun it, or it has ended regularly."""
    return RunOwner.read(_place(flow_run_id))


def has_process(flow_run_id: str) -> bool:
    """Return whether a process of this host was started by a worker for the flow run, whatever it has recorded."""
    for process in psutil.process_iter():
        # Of another person, or exited since.
        with contextlib.suppress(psutil.Error):
            if process.environ().get(WORKER_FLOW_RUN) == flow_run_id:
                return True
    return False


def forget_owner(flow_run_id: str) -> None:
    """Remove the record of a flow run's owner."""
    _place(flow_run_id).unlink(missing_ok=True)


def terminate_owner(owner: RunOwner) -> None:
    """Kill an owner's process and all its children, stopped ones too."""
    pid = processes.pid_of(owner.process)
    if pid <= 1:  # Of another host, or the first process of a container, which ends with it.
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        if not owner.is_stale:
            processes.kill(family, timeout_s=_END_TIMEOUT_S)


def _place(flow_run_id: str) -> Path:
    return Settings.from_environment().runs / f"{flow_run_id}.json"
