"""What all flows share: results as JSON, and what is written down and told when a run begins and when it ends."""

from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run

from cl_core.errors import CounterpointError
from cl_core.report.costs import cost_line, cost_rows
from tasks.runtime import run_owner
from tasks.runtime.artifacts import publish_costs
from tasks.runtime.console import echo
from tasks.runtime.notifications import notify_failure
from tasks.runtime.run_log import step_costs
from tasks.runtime.step import run_log

MAX_ATTEMPTS = 10


class TooManyAttemptsError(CounterpointError):
    """The same run died so often that a person has to look."""


def count_attempt() -> int:
    """The number of this attempt at the flow run, from 1.

    Raises:
        TooManyAttemptsError: Beyond `MAX_ATTEMPTS`: the run then fails, and is not put back to work.
    """
    attempt = int(flow_run.run_count or 1)
    if attempt > MAX_ATTEMPTS:
        raise TooManyAttemptsError(
            f"the process of this run died {MAX_ATTEMPTS} times, and it is not tried again: see its log for where, "
            "and the system's for why (out of memory?); then retry it by hand, which goes on from the last checkpoint"
        )
    return attempt


def _began(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    del state
    run_log(str(flow_run.id)).append(
        "run began", name=flow_run.name, flow=flow.name, parameters=flow_run.parameters or {}
    )


def _ended(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Close the account and show it: as an artifact, and in a line on the terminal."""
    del flow
    account = run_log(str(flow_run.id))
    account.append("run ended", state=state.name or "", message=state.message or "")
    steps = step_costs(account.read().attempts)
    # Before the error of what was soon refused it would only be in the way. Seconds.
    if state.is_completed() or sum(step.seconds for step in steps) >= 10:
        echo("time", cost_line(steps))
    publish_costs(flow_run.id, cost_line(steps), cost_rows(steps))


def _failed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    notify_failure(flow.name, flow_run, state)


FLOW: dict[str, Any] = {
    "persist_result": True,
    "result_serializer": "json",
    # The lease first: it ends whatever still works on the same run.
    "on_running": [run_owner.claim, _began],
    "on_completion": [_ended, run_owner.release],
    "on_cancellation": [_ended, run_owner.release],
    "on_failure": [_ended, _failed, run_owner.release],
    "on_crashed": [_ended, _failed, run_owner.release],
}
"""Options of every flow."""
