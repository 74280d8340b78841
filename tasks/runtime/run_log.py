"""The run log: what each step of a flow run did, why, and what it cost, attempt by attempt.

One file of JSON lines per flow run, `runs/FLOW-RUN-ID.jsonl` in the work folder of CL_HOME. Lines are only appended, so
that a killed process leaves what it had written, and the attempts of a rescheduled flow run add up.
"""

import contextlib
import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from cl_core import processes
from cl_core.refs import Ref
from cl_core.report.costs import Outcome, StepCost
from cl_core.specs import renamed
from tasks.runtime.settings import Settings

logger = logging.getLogger(__name__)

# Version 0.1.0 wrote to this folder of the work folder, under other words.
_EARLIER = "accounts"


class StepAttempt(Ref):
    """One attempt of a step."""

    step: str
    began: float = Field(description="Seconds since 1970.")
    seconds: float = Field(0.0, description="Wall time; of a killed attempt, until its last heartbeat.")
    cpu_seconds: float = Field(0.0, description="CPU time of the process and of those that it started in the step.")
    gpu_seconds: float = Field(0.0, description="Wall time from the start of training, times the number of GPUs held.")
    outcome: Outcome = Field("running", description="`cached`: its result was up to date, so it was skipped.")
    messages: list[str] = Field([], description="What the step logged about itself.")
    inputs: dict[str, str] = Field({}, description="Digests of the step's arguments, by name.")
    error: str = Field("", description="Why it failed; empty otherwise.")
    repeated_steps: int | None = Field(None, description="Training steps taken again; none without training.")
    repeated_seconds: float = Field(0.0, description="Time that those had taken before.")
    result: dict[str, Any] = Field({}, description="The plain values of its result.")


class FlowRun(Ref):
    """The flow run that a log belongs to."""

    id: str
    name: str = ""
    flow: str = ""
    parameters: dict[str, Any] = Field({}, description="Parameters of the flow run.")
    began: float = Field(0.0, description="Start of the first attempt. Seconds since 1970.")
    state: str = Field("", description="Last state that it logged; empty if its process was killed.")
    message: str = Field("", description="Message of that state.")


class RunRecord(NamedTuple):
    """A flow run and the attempts of its steps."""

    run: FlowRun
    attempts: list[StepAttempt]


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

    def lines(self) -> list[dict[str, Any]]:
        """Return all whole lines, oldest first, in the words of this version."""
        lines = []
        for path in (self.path.parent.with_name(_EARLIER) / self.path.name, self.path):
            for text in path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else ():
                # A line that a crash cut off is not JSON.
                with contextlib.suppress(ValueError):
                    line = {renamed.RUN_LOG.get(name, name): value for name, value in json.loads(text).items()}
                    lines.append(line)
                    for name in line.keys() & {"event", "outcome"}:
                        line[name] = renamed.RUN_LOG.get(line[name], line[name])
        return lines

    def read(self) -> RunRecord:
        """Return the flow run and the attempts of its steps so far, oldest first."""
        run: dict[str, Any] = {"id": self.path.stem}
        attempts: dict[str, dict[str, Any]] = {}
        workers: dict[str, str] = {}
        for line in self.lines():
            event, at, key = line.pop("event"), line.pop("at"), line.pop("attempt", "")
            if event == "run began":
                # An earlier process of the run has ended, and so have its steps.
                for values in attempts.values():
                    values.setdefault("outcome", "killed")
                run |= {**line, "began": run.get("began", at), "state": "", "message": ""}
            elif event == "run ended":
                run |= line
            elif event == "began":
                workers[key] = line.pop("process")
                attempts[key] = {"began": at, "messages": [], **line}
            elif event == "message" and key in attempts:
                attempts[key]["messages"].append(line["message"])
            elif event in ("alive", "result", "repeated", "ended") and key in attempts:
                attempts[key] |= line
        for key, values in attempts.items():
            if "outcome" not in values and processes.is_gone(workers[key]):
                values["outcome"] = "killed"
        return RunRecord(FlowRun(**run), [StepAttempt(**values) for values in attempts.values()])


def run_log(flow_run_id: str) -> RunLog:
    """Return the log of a flow run."""
    return RunLog(Settings.from_environment().runs / f"{flow_run_id}.jsonl")


def run_records(settings: Settings) -> list[RunRecord]:
    """Return the records of all flow runs of this CL_HOME, newest first."""
    names = {path.name for folder in (settings.runs, settings.work / _EARLIER) for path in folder.glob("*.jsonl")}
    records = (RunLog(settings.runs / name).read() for name in names)
    return sorted(records, key=lambda record: -record.run.began)


def step_costs(attempts: Iterable[StepAttempt]) -> list[StepCost]:
    """Return the cost of each step, in the order in which the steps began."""
    by_step = defaultdict(list)
    for attempt in attempts:
        by_step[attempt.step].append(attempt)
    return [_cost(step, attempts_of_step) for step, attempts_of_step in by_step.items()]


def _cost(step: str, attempts: list[StepAttempt]) -> StepCost:
    last = attempts[-1]
    lost = sum(attempt.repeated_seconds for attempt in attempts)
    waited = 0.0
    for attempt, following in zip(attempts, [*attempts[1:], None], strict=True):
        if attempt.outcome in ("failed", "killed"):
            if following is not None:
                waited += max(0.0, following.began - attempt.began - attempt.seconds)
            # A training resumes from its checkpoint: of the attempt before, only the repeated steps are lost.
            if following is None or following.repeated_steps is None:
                lost += attempt.seconds
    return StepCost(
        step=step,
        outcome=last.outcome,
        attempts=len(attempts),
        seconds=sum(attempt.seconds for attempt in attempts),
        cpu_seconds=sum(attempt.cpu_seconds for attempt in attempts),
        gpu_seconds=sum(attempt.gpu_seconds for attempt in attempts),
        lost_seconds=lost,
        waited_seconds=waited,
        repeated_steps=sum(attempt.repeated_steps or 0 for attempt in attempts),
        why=last.error or ". ".join(last.messages),
    )


def model_of(parameters: Mapping[str, Any]) -> str:
    """Return the name of the model that a flow's parameters name, by default that of the dataset; empty for no model.

    `parameters` are as Prefect stores them.
    """
    if "model_name" not in parameters:
        return ""
    return str(parameters["model_name"] or (parameters.get("data") or {}).get("name", ""))
