"""The decorator that makes a function a step: which errors are retried, how results are kept, what is logged."""

import functools
import inspect
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from prefect import Task, runtime, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_run_logger
from prefect.tasks import exponential_backoff
from pydantic import BaseModel

from cl_core import processes
from cl_core.errors import CounterpointError, TooManyAttemptsError
from cl_core.hashing import digest_of
from cl_core.report.costs import StepAttempt
from cl_core.training.progress import Repeated
from tasks.runtime.compat import run_cancelled
from tasks.runtime.console import echo
from tasks.runtime.metering import Meter
from tasks.runtime.run_log import run_log
from tasks.runtime.run_state import RunState
from tasks.runtime.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

RETRIES = 3
MAX_ATTEMPTS = 10
_RETRIABLE = (ConnectionError, TimeoutError)


async def _can_be_retried(task: Any, task_run: TaskRun, state: State[Any]) -> bool:
    """Retry only what a machine or a network did; wrong data, specs and losses would fail again."""
    error = await state.aresult(raise_on_failure=False)
    retriable = error.retriable if isinstance(error, CounterpointError) else isinstance(error, _RETRIABLE)
    if retriable:
        # Prefect logs it as well, but a person at the terminal does not see that log.
        echo(task.name, f"retrying ({task_run.run_count} of {RETRIES}): {error}")
    return retriable


STEP: dict[str, Any] = {
    "retries": RETRIES,
    "retry_delay_seconds": exponential_backoff(backoff_factor=Settings.from_environment().retry_delay_s),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _can_be_retried,
    "persist_result": True,
    "result_serializer": "json",
}
"""Options of every step's task."""


def check_attempts() -> None:
    """Refuse a flow run whose process has died too often, so that it fails and is not rescheduled.

    Raises:
        TooManyAttemptsError: Beyond `MAX_ATTEMPTS`.
    """
    # Every step asks: Prefect swallows what a hook of the flow raises.
    if int(runtime.flow_run.run_count or 1) > MAX_ATTEMPTS:
        raise TooManyAttemptsError(
            f"the process of this run died {MAX_ATTEMPTS} times, so it is not retried again; look into its log for "
            "where, and the system's for why (out of memory?), then retry it by hand: it resumes from its last "
            "checkpoint"
        )


class _RunningAttempt:
    """An attempt of a step while it runs."""

    def __init__(self, flow_run_id: str, step: str) -> None:
        self.flow_run_id, self.step, self.meter = flow_run_id, step, Meter()
        self.outcome = "ran"
        self.write = functools.partial(run_log(flow_run_id).append, attempt=uuid.uuid4().hex)


_ATTEMPT: ContextVar[_RunningAttempt | None] = ContextVar("step_attempt", default=None)


def step(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a step: a task that is retried, keeps its result, and whose attempts are logged."""

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def logged(*args: P.args, **kwargs: P.kwargs) -> R:
            with _attempt(name, signature.bind(*args, **kwargs).arguments) as attempt:
                if attempt is not None:
                    check_attempts()
                try:
                    result = function(*args, **kwargs)
                except KeyboardInterrupt as stop:
                    if _is_of_a_deployment():
                        raise
                    raise run_cancelled(str(stop)) from stop
                if attempt is not None and isinstance(result, BaseModel):
                    values = result.model_dump(mode="json")
                    plain = {name: value for name, value in values.items() if isinstance(value, str | int | float)}
                    attempt.write("result", result=plain)
                return result

        decorated: Task[P, R] = task(name=name, **STEP)(logged)
        return decorated

    return decorate


def log_outcome(message: str, *, cached: bool = False) -> None:
    """Log what a step did, or that its result was up to date, in Prefect, in the run log, and on the terminal."""
    get_run_logger().info(message)
    attempt = _ATTEMPT.get()
    if attempt is not None:
        attempt.outcome = "cached" if cached else attempt.outcome
    _log_message(message)


def log_warning(message: str) -> None:
    """Log what a person should know before the run goes on, where `log_outcome` logs; in Prefect as a warning."""
    get_run_logger().warning(message)
    _log_message(f"warning: {message}")


def _log_message(message: str) -> None:
    """Write a message of the running step into the run log, and on the terminal."""
    attempt, context = _ATTEMPT.get(), TaskRunContext.get()
    if attempt is not None:
        attempt.write("message", message=message)
    echo(context.task.name if context else "", message)


def log_nothing_lost() -> None:
    """Log that the step is about to end because a person stopped it, and that all it has done is kept."""
    attempt = _ATTEMPT.get()
    if attempt is not None:
        attempt.outcome = "interrupted"


def attempts_so_far() -> list[StepAttempt]:
    """Return the attempts of the steps of this flow run, up to now, oldest first; empty outside a flow run."""
    context = FlowRunContext.get()
    return run_log(str(context.flow_run.id)).read().attempts if context and context.flow_run else []


def step_messages() -> dict[str, str]:
    """Return what the last attempt of each step of this flow run has logged, by step."""
    return {attempt.step: ". ".join(attempt.messages) for attempt in attempts_so_far()}


@contextmanager
def metered_training(gpus: int, repeated: Callable[[], Sequence[Repeated]]) -> Iterator[None]:
    """Count the step's time from here on as time of GPUs; record which steps the body trains again.

    Args:
        gpus: How many the training holds.
        repeated: Gives the repeats so far: what is trained again after a kill or a lost worker.
    """
    attempt = _ATTEMPT.get()
    if attempt is None:
        yield
        return
    attempt.meter.hold_gpus(gpus)
    before = len(repeated())
    try:
        yield
    finally:
        new = repeated()[before:]
        attempt.write(
            "repeated",
            repeated_steps=sum(repeat.steps for repeat in new),
            repeated_seconds=sum(repeat.seconds for repeat in new),
        )


def _is_of_a_deployment() -> bool:
    context = FlowRunContext.get()
    return context is None or context.flow_run is None or context.flow_run.deployment_id is not None


def first_seen(what: str, value: R) -> R:
    """Return a plain value as this step's first attempt saw it, before a killed attempt may have changed it."""
    attempt = _ATTEMPT.get()
    return value if attempt is None else RunState(attempt.flow_run_id).first_seen(f"{attempt.step}: {what}", value)


@contextmanager
def _attempt(name: str, arguments: Mapping[str, Any]) -> Iterator[_RunningAttempt | None]:
    context = TaskRunContext.get()
    if context is None or context.task_run.flow_run_id is None:
        yield None
        return
    attempt = _RunningAttempt(str(context.task_run.flow_run_id), name)
    attempt.write("began", step=name, process=processes.token(), inputs=_inputs(arguments))
    token = _ATTEMPT.set(attempt)
    try:
        with attempt.meter.watching(functools.partial(attempt.write, "alive")):
            yield attempt
    except BaseException as error:
        outcome = attempt.outcome if attempt.outcome == "interrupted" else "failed"
        attempt.write("ended", outcome=outcome, error=str(error) or type(error).__name__, **attempt.meter.usage())
        raise
    else:
        attempt.write("ended", outcome=attempt.outcome, **attempt.meter.usage())
    finally:
        _ATTEMPT.reset(token)


def _inputs(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of each argument: its own where it has one, else that of its values."""
    return {
        name: getattr(value, "digest", "")
        or getattr(value, "uri", "")
        or digest_of(value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value))
        for name, value in arguments.items()
    }
