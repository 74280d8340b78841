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


class Lease(Ref):
    """Who works on a flow run."""

    flow_run_id: str
    flow_run_name: str
    flow: str
    process: str

    @property
    def is_stale(self) -> bool:
        """Whether its process has ended; one of another host counts as alive."""
        return processes.is_gone(self.process)


def take(flow: Any, flow_run: FlowRun, state: Any) -> None:
    """Note that this process works on the run, after ending the one of this host that did before."""
    del state
    mine = Lease(flow_run_id=str(flow_run.id), flow_run_name=flow_run.name, flow=flow.name, process=processes.token())
    before = of(mine.flow_run_id)
    if before is not None and not before.is_stale and before.process != mine.process:
        end(before)
    place = _place(mine.flow_run_id)
    place.parent.mkdir(parents=True, exist_ok=True)
    artifact_dir.write_text(place, mine.model_dump_json() + "\n")


def drop(flow: Any, flow_run: FlowRun, state: Any) -> None:
    """Remove the note, because the run has ended."""
    del flow, state
    discard(str(flow_run.id))


def leases() -> list[Lease]:
    """All there are under CL_HOME, those of ended processes included."""
    found = (read(path) for path in sorted(_place("any").parent.glob("*.json")))
    return [lease for lease in found if lease is not None]


def of(flow_run_id: str) -> Lease | None:
    """Who works, or last worked, on a flow run; None when nobody has begun, or it has ended in order."""
    return read(_place(flow_run_id))


def read(path: Path) -> Lease | None:
    """The lease in a file; None when there is none, or none that can be read."""
    try:
        return Lease.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def discard(flow_run_id: str) -> None:
    """Remove the note of a flow run."""
    _place(flow_run_id).unlink(missing_ok=True)


def end(lease: Lease) -> None:
    """Kill a lease's process and all its children; SIGKILL ends stopped ones too."""
    pid = processes.pid_of(lease.process)
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        if not lease.is_stale:
            processes.kill(family, timeout_s=_END_TIMEOUT_S)


def _place(flow_run_id: str) -> Path:
    return Settings.from_environment().work / "runs" / f"{flow_run_id}.json"
