"""The run log: what each step of a flow run did, why, and what it cost, attempt by attempt.

One file of JSON lines per flow run, `runs/FLOW-RUN-ID.jsonl` in the work folder of CL_HOME. Lines are only appended, so
that a killed process leaves what it had written, and the attempts of a rescheduled flow run add up.
"""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from cl_core import processes
from cl_core.refs import Ref
from cl_core.report.costs import StepAttempt
from cl_core.specs.renamed import current_log_line
from tasks.runtime.settings import Settings

logger = logging.getLogger(__name__)

# Version 0.1.0 wrote to this folder of the work folder.
_EARLIER = "accounts"


class FlowRun(Ref):
    """A flow run and the attempts of its steps."""

    id: str
    name: str = ""
    flow: str = ""
    parameters: dict[str, Any] = Field({}, description="Parameters of the flow run.")
    began: float = Field(0.0, description="Start of the first attempt. Seconds since 1970.")
    state: str = Field("", description="Last state that it logged; empty if its process was killed.")
    message: str = Field("", description="Message of that state.")
    attempts: list[StepAttempt] = Field([], exclude=True, description="Of its steps, oldest first.")


class RunLog(NamedTuple):
    """The log file of one flow run: `runs/FLOW-RUN-ID.jsonl`."""

    path: Path

    def append(self, event: str, **values: Any) -> None:
        """Append a line. A log that cannot be written must not fail a run, so the error is only logged."""
        line = json.dumps({"event": event, "at": time.time(), **values}, default=str)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One write to a file opened for appending; the line break before it ends a line that a crash cut off.
            with self.path.open("ab", buffering=0) as file:
                file.write(f"\n{line}\n".encode())
                os.fsync(file.fileno())
        except OSError as error:
            logger.warning("cannot write the run log %s: %s", self.path, error)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Give all whole lines, oldest first, in the words of this version."""
        for path in (self.path.parent.with_name(_EARLIER) / self.path.name, self.path):
            for line in path.read_bytes().splitlines() if path.exists() else ():
                with contextlib.suppress(ValueError):  # A crash has cut it off.
                    yield current_log_line(json.loads(line))

    def read(self) -> FlowRun:
        """Return the flow run as far as it is logged."""
        run: dict[str, Any] = {"id": self.path.stem}
        attempts: dict[str, dict[str, Any]] = {}
        for line in self.lines():
            event, at, attempt = line.pop("event"), line.pop("at"), line.pop("attempt", "")
            if event == "run began":
                # An earlier process of the run has ended, and so have its steps.
                for values in attempts.values():
                    values.setdefault("outcome", "killed")
                run = {"began": at} | run | line | {"state": "", "message": ""}
            elif event == "run ended":
                run |= line
            elif event == "began":
                attempts[attempt] = {"began": at, "messages": [], **line}
            elif event == "message" and attempt in attempts:
                attempts[attempt]["messages"].append(line["message"])
            elif event in ("alive", "result", "repeated", "ended") and attempt in attempts:
                attempts[attempt] |= line
        for values in attempts.values():
            process = values.pop("process")
            if "outcome" not in values and processes.is_gone(process):
                values["outcome"] = "killed"
        return FlowRun(**run, attempts=list(attempts.values()))


def run_log(flow_run_id: str) -> RunLog:
    """Return the log of a flow run."""
    return RunLog(Settings.from_environment().runs / f"{flow_run_id}.jsonl")


def logged_runs(settings: Settings) -> list[FlowRun]:
    """Return all flow runs of this CL_HOME that have a log, newest first."""
    names = {path.name for folder in (settings.runs, settings.work / _EARLIER) for path in folder.glob("*.jsonl")}
    return sorted((RunLog(settings.runs / name).read() for name in names), key=lambda run: -run.began)


def model_of(parameters: Mapping[str, Any]) -> str:
    """Return the name of the model that a flow's parameters name, by default that of the dataset; empty for no model.

    `parameters` are as Prefect stores them.
    """
    if "model_name" not in parameters:
        return ""
    return str(parameters["model_name"] or (parameters.get("data") or {}).get("name", ""))
