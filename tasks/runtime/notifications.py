"""Notifications through the Prefect block that CL_NOTIFY names: a failed run, a refused version, a new champion.

A flow run that fails sends its own notification, where its server has no automation that does. A run whose process was
killed can be noticed only by the server: those automations send it (`flows.deployments.automations`).
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

from prefect import Flow, get_client, runtime
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging import get_run_logger
from prefect.logging.loggers import flow_run_logger

from cl_core.errors import InputError
from cl_core.refs import Decision
from cl_core.report.reasons import decision_sentence
from tasks.runtime.console import echo
from tasks.runtime.provenance import flow_run_url
from tasks.runtime.run_log import model_of
from tasks.runtime.run_state import RunState
from tasks.runtime.settings import Settings

FAILED, CRASHED = "counterpoint: a run failed", "counterpoint: a run crashed"
_LOGS_ADDRESSES = ("httpx", "httpcore", "apprise")

Logger = logging.Logger | logging.LoggerAdapter[Any]


def notify_decision(decision: Decision, *, before: int, news: bool = True) -> None:
    """Notify of a new champion, and of a version that the gate refused.

    Args:
        decision: The decision.
        before: The champion before it; 0 when there was none.
        news: False when the same version was refused for the same reason before.
    """
    name, version = decision.name, decision.version
    if decision.champion != before:
        after = f", after version {before}" if before else ""
        what = f"The champion of {name} is now version {decision.champion}{after}"
        affected = decision.champion
    elif not decision.promoted and news:
        what, affected = f"The gate refused version {version} of {name}", version
    else:
        return
    flow_run_id, reason = str(runtime.flow_run.id), decision_sentence(decision)
    _send(what, flow_run_id, get_run_logger(), model=name, version=affected, reason=reason)


def notify_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Notify of a flow run that failed, unless its server does."""
    if not Settings.from_environment().notify:
        return
    with get_client(sync_client=True) as client:
        if client.read_automations_by_name(FAILED):
            return
    model = model_of(flow_run.parameters or {})
    what = f"Run {flow_run.name} of {flow.name} has {(state.name or 'failed').lower()}"
    reason = state.message or "no reason given"
    _send(what, str(flow_run.id), flow_run_logger(flow_run), model=model, version=0, reason=reason)


def notification_block(block: str) -> NotificationBlock:
    """Load the block of that name from the server.

    Raises:
        InputError: When there is none, or it does not send messages.
    """
    try:
        loaded = Block.load(block)
    except ValueError as error:
        raise InputError(
            f"CL_NOTIFY: there is no block {block!r} on the Prefect server; create one under Blocks in its UI and set "
            "its type and name, such as slack-webhook/team"
        ) from error
    if not isinstance(loaded, NotificationBlock):
        raise InputError(
            f"CL_NOTIFY: block {block!r} does not send messages; choose one that does, such as slack-webhook"
        )
    return loaded


def flow_run_page(flow_run_id: str) -> str:
    """Return the address of a flow run in the Prefect UI; without a UI, the command that shows the run."""
    return flow_run_url(flow_run_id) or f"cl explain {flow_run_id}"


def _send(what: str, flow_run_id: str, logger: Logger, *, model: str, version: int, reason: str) -> None:
    """Send a message, once per flow run. A message that cannot be delivered is logged and fails nothing."""
    block = Settings.from_environment().notify
    if not block:
        return
    state = RunState(flow_run_id)
    if state.is_notified(what):
        return
    lines = {"Model": model, "Version": version, "Reason": reason, "Run": flow_run_page(flow_run_id)}
    body = "\n".join([f"{what}.", *(f"{name}: {value}" for name, value in lines.items() if value)])
    try:
        with _quiet():
            sender = notification_block(block)
            with sender.raise_on_failure():
                cast(Any, sender).notify(body=body, subject=what)
    except Exception as error:
        # The error's own text may hold the address, which is the block's secret.
        response = getattr(error, "response", None)
        status = f", HTTP status {response.status_code}" if response is not None else ""
        cause = str(error) if isinstance(error, InputError) else f"{type(error).__name__}{status}"
        message = (
            f"could not send the notification {what!r} through block {block} ({cause}); correct the block in the "
            "Prefect UI, or unset CL_NOTIFY"
        )
        logger.warning(message)
        echo("notify", message)
    else:
        # Outside of the try: if this cannot be written, the run must fail, or every attempt would send it again.
        state.add_notified(what)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the loggers of libraries that log addresses."""
    with ExitStack() as stack:
        for logger in map(logging.getLogger, _LOGS_ADDRESSES):
            stack.callback(setattr, logger, "propagate", logger.propagate)
            logger.propagate = False
        yield
