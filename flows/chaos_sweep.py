"""The fault sweep: runs that are killed, put back to work by Prefect, and audited."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from chaos.audit import Audit, audit
from chaos.cases import RECIPE, Case
from chaos.stack import Machine
from prefect.client.schemas.objects import FlowRun, StateType

# Crashed is not among them: such a run is put back to work.
_OVER = (StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED)
_CASE_TIMEOUT_S = 900
_PROCESS_END_S = 60
_LOOK_EVERY_S = 0.5
# A step and a checkpoint of the recipe, on a machine whose disk is slow and whose cores are shared.
_LONGEST_STEP_S = 5.0


@dataclass(frozen=True)
class Row:
    """What one case came to."""

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


def undisturbed(machine: Machine) -> Row:
    """A run that nothing happens to, with which the others are compared."""
    [row] = sweep(machine, [Case("undisturbed", "chaos-undisturbed")], weights="", at_once=1)
    return row


def sweep(machine: Machine, cases: list[Case], *, weights: str, at_once: int) -> Iterator[Row]:
    """Run the cases, some at once, and say of each what it came to.

    Args:
        machine: To run them on.
        cases: In this order.
        weights: sha256 of those that the undisturbed run registered.
        at_once: Runs that are under way at the same time; much of one is waiting.
    """
    waiting, started = list(cases), list[_Started]()
    while waiting or started:
        while waiting and len(started) < at_once:
            case = waiting.pop(0)
            started.append(_Started(case, machine.start(case.name, case.failpoints)))
        for one in list(started):
            run = machine.run(one.run_id)
            _kill_in_time(machine, one)
            over = run.state is not None and run.state.type in _OVER
            if over or time.monotonic() - one.began > _CASE_TIMEOUT_S:
                started.remove(one)
                yield _row(machine, one, run, weights)
        time.sleep(_LOOK_EVERY_S if not any(one.case.kill_after_s and not one.killed for one in started) else 0.01)


def _kill_in_time(machine: Machine, one: _Started) -> None:
    if not one.case.kill_after_s or one.killed:
        return
    if not one.working_since:
        one.working_since = time.monotonic() if machine.lease(one.case.name, one.run_id) else 0
    elif time.monotonic() - one.working_since >= one.case.kill_after_s:
        machine.kill(one.case.name, one.run_id)
        one.killed = True


def _row(machine: Machine, one: _Started, run: FlowRun, weights: str) -> Row:
    seconds = time.monotonic() - one.began
    problems = []
    if run.state is None or run.state.type != StateType.COMPLETED:
        problems.append(f"the run is {run.state_name} after {seconds:.0f} s")
    deadline = time.monotonic() + _PROCESS_END_S
    while (left := machine.processes(one.case.name)) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    problems += [f"process {process.pid} still runs" for process in left]
    if (one.case.failpoints or one.killed) and run.run_count < 2:
        problems.append("it was not killed: it ended in one attempt")
    with _home(machine, one.case.name):
        found = audit(
            one.case.name,
            weights=weights,
            checkpoint_every_s=RECIPE["compute"]["checkpoint_every_s"],
            longest_step_s=_LONGEST_STEP_S,
        )
    return Row(one.case, run.run_count, seconds, found, [*problems, *found.problems])


@contextlib.contextmanager
def _home(machine: Machine, name: str) -> Iterator[None]:
    before = os.environ["CL_HOME"]
    os.environ["CL_HOME"] = str(machine.home(name))
    try:
        yield
    finally:
        os.environ["CL_HOME"] = before
