"""The account of a flow run: what each of its steps did, why, and what it cost, attempt by attempt.

A file of JSON lines for each flow run, under `accounts` in the work folder of CL_HOME. Lines are only ever appended, so
that what a killed process had written stands, and the attempts of a flow run that is begun again add up.
"""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from cl_core import processes
from cl_core.refs import Ref
from cl_core.report.costs import Outcome, StepCost

logger = logging.getLogger(__name__)


class StepAttempt(Ref):
    """A step, tried once."""

    step: str
    began: float = Field(description="Seconds since 1970.")
    seconds: float = Field(0.0, description="Wall time; of a killed attempt, to its last sign of life.")
    cpu_seconds: float = Field(0.0, description="Of the process and of those it started in the step.")
    gpu_seconds: float = Field(0.0, description="Wall time of training, times the GPUs that it held.")
    outcome: Outcome = Field("running", description="`stood`: its result stood already, so there was nothing to do.")
    said: list[str] = Field([], description="What it said of itself, in sentences.")
    inputs: dict[str, str] = Field({}, description="Digests of the step's arguments, by name.")
    error: str = Field("", description="Why it failed; empty otherwise.")
    repeated_steps: int | None = Field(None, description="Training steps taken again; none where nothing was trained.")
    repeated_seconds: float = Field(0.0, description="Time that those had taken before.")
    made: dict[str, Any] = Field({}, description="The plain values of its result.")


class FlowRun(Ref):
    """The flow run that an account is of."""

    id: str
    name: str = ""
    flow: str = ""
    parameters: dict[str, Any] = Field({}, description="What it was asked for.")
    began: float = Field(0.0, description="Of the first attempt. Seconds since 1970.")
    state: str = Field("", description="The last one that it wrote down; empty if its process was killed.")
    message: str = Field("", description="Of that state.")


class RunRecord(NamedTuple):
    """What is known of a flow run."""

    run: FlowRun
    attempts: list[StepAttempt]


class RunLog:
    """The file of one flow run's account.

    Args:
        path: `accounts/FLOW-RUN-ID.jsonl`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: str, **values: Any) -> None:
        """Add a line. An account that cannot be written is no reason to fail a run: it is logged."""
        line = json.dumps({"event": event, "at": time.time(), **values}, default=str)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One write to a file opened for appending; the line break before it ends what a crash has cut off.
            with self.path.open("ab", buffering=0) as file:
                file.write(f"\n{line}\n".encode())
                os.fsync(file.fileno())
        except OSError as error:
            logger.warning("the account %s could not be continued: %s", self.path, error)

    def lines(self) -> list[dict[str, Any]]:
        """All whole lines, oldest first."""
        return list(_whole_lines(self.path)) if self.path.exists() else []

    def read(self) -> RunRecord:
        """The flow run and the attempts of its steps so far, oldest first."""
        run: dict[str, Any] = {"id": self.path.stem}
        attempts: dict[str, dict[str, Any]] = {}
        workers: dict[str, str] = {}
        for line in self.lines():
            event, at, key = line.pop("event"), line.pop("at"), line.pop("attempt", "")
            if event == "run began":
                # What an earlier process of the run has not ended ended with it.
                for values in attempts.values():
                    values.setdefault("outcome", "killed")
                run |= {**line, "began": run.get("began", at), "state": "", "message": ""}
            elif event == "run ended":
                run |= line
            elif event == "began":
                workers[key] = line.pop("process")
                attempts[key] = {"began": at, "said": [], **line}
            elif event == "said":
                attempts[key]["said"].append(line["sentence"])
            elif event in ("alive", "made", "repeated", "ended") and key in attempts:
                attempts[key] |= line
        for key, values in attempts.items():
            if "outcome" not in values and processes.is_gone(workers[key]):
                values["outcome"] = "killed"
        return RunRecord(
            FlowRun.model_validate(run), [StepAttempt.model_validate(values) for values in attempts.values()]
        )


def step_costs(attempts: Iterable[StepAttempt]) -> list[StepCost]:
    """What each step cost, in the order in which they were first begun."""
    by_step: dict[str, list[StepAttempt]] = {}
    for attempt in attempts:
        by_step.setdefault(attempt.step, []).append(attempt)
    return [_cost(step, tried) for step, tried in by_step.items()]


def _cost(step: str, tried: list[StepAttempt]) -> StepCost:
    last = tried[-1]
    lost = waited = 0.0
    for attempt, following in zip(tried, [*tried[1:], None], strict=True):
        lost += attempt.repeated_seconds
        if attempt.outcome not in ("failed", "killed"):
            continue
        if following is not None:
            waited += max(0.0, following.began - attempt.began - attempt.seconds)
        # A training goes on from its checkpoint: of the attempt before, only what is repeated was in vain.
        if following is None or following.repeated_steps is None:
            lost += attempt.seconds
    return StepCost(
        step=step,
        outcome=last.outcome,
        attempts=len(tried),
        seconds=sum(attempt.seconds for attempt in tried),
        cpu_seconds=sum(attempt.cpu_seconds for attempt in tried),
        gpu_seconds=sum(attempt.gpu_seconds for attempt in tried),
        lost_seconds=lost,
        waited_seconds=waited,
        repeated_steps=sum(attempt.repeated_steps or 0 for attempt in tried),
        why=last.error or ". ".join(last.said),
    )


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(errors="replace").split("\n"):
        # What a crash has cut off is no JSON.
        with contextlib.suppress(ValueError):
            if line:
                yield json.loads(line)
