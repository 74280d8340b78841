"""Leases: which process works on a flow run, as a file that stands while it does.

Prefect knows a run's state, not its process. The file names the process, so that `cl doctor` can compare the two, and
so that a run which is put back to work ends the process that worked on it before: a stopped one, or one that was cut
off from Prefect, would otherwise wake up beside it and hold its locks.
"""

import contextlib
from pathlib import Path
from typing import Any

import psutil
from prefect.client.schemas.objects import FlowRun
from pydantic import ValidationError

from cl_core import artifact_dir, processes
from cl_core.refs import Ref
from tasks.runtime.settings import Settings

_END_TIMEOUT_S = 30


class RunOwner(Ref):
    """Who works on a flow run."""

    flow_run_id: str
    flow_run_name: str
    flow: str
    process: str

    @property
    def is_stale(self) -> bool:
        """Whether its process has ended; one of another host counts as alive."""
        return processes.is_gone(self.process)


def claim(flow: Any, flow_run: FlowRun, state: Any) -> None:
    """Note that this process works on the run, after ending the one of this host that did before."""
    del state
    mine = RunOwner(
        flow_run_id=str(flow_run.id), flow_run_name=flow_run.name, flow=flow.name, process=processes.token()
    )
    before = owner_of(mine.flow_run_id)
    if before is not None and not before.is_stale and before.process != mine.process:
        terminate_owner(before)
    place = _place(mine.flow_run_id)
    place.parent.mkdir(parents=True, exist_ok=True)
    artifact_dir.write_text(place, mine.model_dump_json() + "\n")


def release(flow: Any, flow_run: FlowRun, state: Any) -> None:
    """Remove the note, because the run has ended."""
    del flow, state
    forget_owner(str(flow_run.id))


def run_owners() -> list[RunOwner]:
    """All there are under CL_HOME, those of ended processes included."""
    found = (read_owner(path) for path in sorted(_place("any").parent.glob("*.json")))
    return [lease for lease in found if lease is not None]


def owner_of(flow_run_id: str) -> RunOwner | None:
    """Who works, or last worked, on a flow run; None when nobody has begun, or it has ended in order."""
    return read_owner(_place(flow_run_id))


def read_owner(path: Path) -> RunOwner | None:
    """The lease in a file; None when there is none, or none that can be read."""
    try:
        return RunOwner.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def forget_owner(flow_run_id: str) -> None:
    """Remove the note of a flow run."""
    _place(flow_run_id).unlink(missing_ok=True)


def terminate_owner(lease: RunOwner) -> None:
    """Kill a lease's process and all its children; SIGKILL ends stopped ones too."""
    pid = processes.pid_of(lease.process)
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        if not lease.is_stale:
            processes.kill(family, timeout_s=_END_TIMEOUT_S)


def _place(flow_run_id: str) -> Path:
    return Settings.from_environment().work / "runs" / f"{flow_run_id}.json"
