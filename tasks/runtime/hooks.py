"""The options that all flows share: results as JSON, and what happens when a run begins and when it ends."""

import logging
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State

from cl_core.errors import CounterpointError
from cl_core.registry import explain_validation_error
from cl_core.report.costs import cost_line, cost_rows, step_costs
from tasks.runtime import run_owner
from tasks.runtime.artifacts import publish_costs
from tasks.runtime.compat import name_failures, refused_parameters
from tasks.runtime.console import echo
from tasks.runtime.notifications import notify_failure
from tasks.runtime.run_log import run_log
from tasks.runtime.settings import Settings

_SHOWN_COST_S = 10


def _sentence(error: BaseException | None) -> str | None:
    """Return what a person reads about a foreseen error: the sentence alone; None for another error."""
    if isinstance(error, CounterpointError):
        return str(error)
    if (refused := refused_parameters(error)) is None:
        return None
    sentence, cause = refused
    return explain_validation_error(cause, "", []) if cause else sentence


class _WithoutTraceback(logging.Filter):
    """Leaves of a foreseen error its sentence: whoever reads the run's log needs no place in the code."""

    def filter(self, record: logging.LogRecord) -> bool:
        sentence = _sentence(record.exc_info[1]) if record.exc_info else None
        if sentence is not None:
            record.msg, record.args, record.exc_info, record.exc_text = sentence, (), None, None
        return True


_WITHOUT_TRACEBACK = _WithoutTraceback()


def _shorten_log(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Keep tracebacks of foreseen errors out of the run's log; a run whose parameters are refused never begins."""
    del flow, flow_run, state
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_WITHOUT_TRACEBACK)


def _began(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    del state
    Settings.begin_run(str(flow_run.id))
    run_log(str(flow_run.id)).append(
        "run began", name=flow_run.name, flow=flow.name, parameters=flow_run.parameters or {}
    )


def _ended(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Close the run log and show the costs: as an artifact, and in a line on the terminal."""
    del flow
    log = run_log(str(flow_run.id))
    # This hook runs between Cancelling and Cancelled.
    ending = "Cancelled" if state.is_cancelling() else state.name
    log.append("run ended", state=ending or "", message=state.message or "")
    steps = step_costs(log.read().attempts)
    # Before the error message of a run that was soon refused, the line would only distract.
    if state.is_completed() or sum(step.seconds for step in steps) >= _SHOWN_COST_S:
        echo("time", cost_line(steps))
    publish_costs(flow_run.id, cost_line(steps), cost_rows(steps))


def _over(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    del flow, state
    Settings.end_run(str(flow_run.id))


_LAST = (run_owner.release, _over)

# At the import, because Prefect validates the parameters of a run before it calls the first hook.
name_failures(_sentence)

FLOW: dict[str, Any] = {
    "persist_result": True,
    "result_serializer": "json",
    # First claim the run, which ends any process that still works on it.
    "on_running": [run_owner.claim, _shorten_log, _began],
    "on_completion": [_ended, *_LAST],
    "on_cancellation": [_ended, *_LAST],
    "on_failure": [_shorten_log, _ended, notify_failure, *_LAST],
    "on_crashed": [_ended, notify_failure, *_LAST],
}
"""Options of every flow."""
