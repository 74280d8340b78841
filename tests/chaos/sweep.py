"""The fault sweep: kill runs, let Prefect reschedule them, and audit what they end with."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, StateType

from chaos.audit import Audit, audit
from chaos.cases import RECIPE, Case
from chaos.stack import Stack

# Crashed is missing: such a run is rescheduled.
_FINAL = (StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED)
_CASE_TIMEOUT_S = 900
_PROCESS_END_S = 60
_LOOK_EVERY_S = 0.5
# A step and a checkpoint of the recipe, on a machine whose disk is slow and whose cores are shared.
_LONGEST_STEP_S = 5.0


@dataclass(frozen=True)
class Row:
    """The result of one case."""

    case: Case
    attempts: int
    seconds: float
    audit: Audit
    problems: list[str]


@dataclass
class _Started:
    case: Case
    run_id: UUID
    began: float = field(default_factory=time.monotonic)
    working_since: float = 0
    killed: bool = False


def uninterrupted(stack: Stack) -> Row:
    """Run once without a fault; the others are compared with it."""
    [row] = sweep(stack, [Case("uninterrupted", "chaos-uninterrupted")], weights="", at_once=1)
    return row


def sweep(stack: Stack, cases: list[Case], *, weights: str, at_once: int) -> Iterator[Row]:
    """Run the cases, some concurrently, and yield the result of each as it ends.

    Args:
        stack: Runs them.
        cases: Started in this order.
        weights: sha256 of the weights that the uninterrupted run registered.
        at_once: Concurrent runs; each waits much of its time.
    """
    waiting, started = list(cases), list[_Started]()
    while waiting or started:
        while waiting and len(started) < at_once:
            case = waiting.pop(0)
            started.append(_Started(case, stack.start(case.name, case.failpoints)))
        for one in list(started):
            run = stack.run(one.run_id)
            _kill_in_time(stack, one)
            over = run.state is not None and run.state.type in _FINAL
            if over or time.monotonic() - one.began > _CASE_TIMEOUT_S:
                started.remove(one)
                yield _row(stack, one, run, weights)
        time.sleep(_LOOK_EVERY_S if not any(one.case.kill_after_s and not one.killed for one in started) else 0.01)


def _kill_in_time(stack: Stack, one: _Started) -> None:
    if not one.case.kill_after_s or one.killed:
        return
    if not one.working_since:
        one.working_since = time.monotonic() if stack.owner(one.case.name, one.run_id) else 0
    elif time.monotonic() - one.working_since >= one.case.kill_after_s:
        stack.kill(one.case.name, one.run_id)
        one.killed = True


def _row(stack: Stack, one: _Started, run: FlowRun, weights: str) -> Row:
    seconds = time.monotonic() - one.began
    problems = []
    if run.state is None or run.state.type != StateType.COMPLETED:
        problems.append(f"the run is {run.state_name} after {seconds:.0f} s")
    deadline = time.monotonic() + _PROCESS_END_S
    while (left := stack.processes(one.case.name)) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    problems += [f"process {process.pid} still runs" for process in left]
    if (one.case.failpoints or one.killed) and run.run_count < 2:
        problems.append("the run was not killed: it ended in one attempt")
    if run.run_count > 2:
        problems.append(f"the run took {run.run_count} attempts: {stack.history(one.run_id)}")
    with _home(stack, one.case.name):
        found = audit(
            one.case.name,
            weights=weights,
            checkpoint_every_s=RECIPE["compute"]["checkpoint_every_s"],
            longest_step_s=_LONGEST_STEP_S,
        )
    return Row(one.case, run.run_count, seconds, found, [*problems, *found.problems])


@contextlib.contextmanager
def _home(stack: Stack, name: str) -> Iterator[None]:
    before = os.environ["CL_HOME"]
    os.environ["CL_HOME"] = str(stack.home(name))
    try:
        yield
    finally:
        os.environ["CL_HOME"] = before
