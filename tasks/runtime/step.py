"""What all steps share: which errors are retried, how results are kept, what is told, and the account of it all."""

import functools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger
from prefect.tasks import exponential_backoff
from pydantic import BaseModel

from cl_core import processes
from cl_core.errors import CounterpointError
from tasks.runtime.console import echo
from tasks.runtime.delays import RETRY_DELAY_S
from tasks.runtime.metering import Meter, Usage
from tasks.runtime.run_log import RunLog
from tasks.runtime.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

RETRIES = 3
_OUTSIDE = (ConnectionError, TimeoutError)


async def _can_be_retried(task: Any, task_run: TaskRun, state: State[Any]) -> bool:
    """Try again only what a machine or a network did; wrong data, specs and losses would fail again."""
    del task_run
    error = await state.aresult(raise_on_failure=False)
    retriable = error.retriable if isinstance(error, CounterpointError) else isinstance(error, _OUTSIDE)
    if retriable:
        # Prefect logs it as well; but a person who waits at the terminal should know for what.
        echo(task.name, f"is tried again, at most {RETRIES} times in all: {error}")
    return retriable


STEP: dict[str, Any] = {
    "retries": RETRIES,
    "retry_delay_seconds": exponential_backoff(backoff_factor=RETRY_DELAY_S),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _can_be_retried,
    "persist_result": True,
    "result_serializer": "json",
}
"""Options of every step's task."""


class _RunningAttempt:
    """An attempt of a step while it runs."""

    def __init__(self, log: RunLog, step: str) -> None:
        self.log, self.step, self.meter = log, step, Meter()
        self.outcome = "ran"
        self._key = uuid.uuid4().hex

    def write(self, event: str, **values: Any) -> None:
        self.log.append(event, attempt=self._key, **values)

    def sign_of_life(self, usage: Usage) -> None:
        self.write("alive", **usage._asdict())


_NOW: ContextVar[_RunningAttempt | None] = ContextVar("accounted", default=None)


def step(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A function as a step: a task that is retried, keeps its result, and whose attempts are all accounted for."""

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        @functools.wraps(function)
        def accounted(*args: P.args, **kwargs: P.kwargs) -> R:
            with _attempt(name) as attempt:
                result = function(*args, **kwargs)
                if attempt is not None and isinstance(result, BaseModel):
                    attempt.write("made", made=_plain(result))
                return result

        made: Task[P, R] = task(name=name, **STEP)(accounted)
        return made

    return decorate


def log_outcome(sentence: str, *, stood: bool = False) -> str:
    """Log what a step did; also on the terminal of a person's command, and in the account of the run.

    Args:
        sentence: For people.
        stood: Whether this is why there was nothing to do.
    """
    get_run_logger().info(sentence)
    attempt, context = _NOW.get(), TaskRunContext.get()
    if attempt is not None:
        attempt.write("said", sentence=sentence)
        attempt.outcome = "stood" if stood else attempt.outcome
    echo(context.task.name if context else "", sentence)
    return sentence


@contextmanager
def holding_gpus(count: int) -> Iterator[None]:
    """Count the body's time as time of so many GPUs."""
    attempt = _NOW.get()
    if attempt is None:
        yield
    else:
        with attempt.meter.holding_gpus(count):
            yield


def record_repeats(steps: int, seconds: float) -> None:
    """Put training steps that were taken again, and the time they had taken, into the account."""
    if (attempt := _NOW.get()) is not None:
        attempt.write("repeated", repeated_steps=steps, repeated_seconds=seconds)


def first_seen(what: str, value: R) -> R:
    """A plain value as this step first found it in this flow run, before a killed attempt may have changed it.

    Args:
        what: Name of the value, the same in every attempt.
        value: As it is now.
    """
    attempt = _NOW.get()
    if attempt is None:
        return value
    name = f"{attempt.step}: {what}"
    for line in attempt.log.lines():
        if line["event"] == "found" and line["what"] == name:
            first: R = line["value"]
            return first
    attempt.write("found", what=name, value=value)
    return value


@contextmanager
def _attempt(name: str) -> Iterator[_RunningAttempt | None]:
    context = TaskRunContext.get()
    if context is None or context.task_run.flow_run_id is None:
        yield None
        return
    attempt = _RunningAttempt(run_log(str(context.task_run.flow_run_id)), name)
    attempt.write("began", step=name, process=processes.token())
    token = _NOW.set(attempt)
    try:
        with attempt.meter.watching(attempt.sign_of_life):
            yield attempt
    except BaseException as error:
        attempt.write("ended", outcome="failed", error=str(error) or type(error).__name__, **_used(attempt))
        raise
    else:
        attempt.write("ended", outcome=attempt.outcome, **_used(attempt))
    finally:
        _NOW.reset(token)


def run_log(flow_run_id: str) -> RunLog:
    """The account of a flow run."""
    return RunLog(Settings.from_environment().accounts / f"{flow_run_id}.jsonl")


def _used(attempt: _RunningAttempt) -> dict[str, float]:
    return attempt.meter.usage()._asdict()


def _plain(result: BaseModel) -> dict[str, Any]:
    """The values of a result that are no collections: names, digests, addresses, numbers."""
    values = result.model_dump(mode="json")
    return {name: value for name, value in values.items() if isinstance(value, str | int | float)}
