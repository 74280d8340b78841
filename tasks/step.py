"""What all steps share: which errors are retried, how results are kept, and how a step says what it did."""

from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger
from prefect.tasks import exponential_backoff

from cl_core.errors import CounterpointError
from tasks.console import tell

RETRIES = 3
_OUTSIDE = (ConnectionError, TimeoutError)


async def _can_be_retried(task: Any, task_run: TaskRun, state: State[Any]) -> bool:
    """Try again only what a machine or a network did; wrong data, specs and losses would fail again."""
    del task_run
    error = await state.aresult(raise_on_failure=False)
    retriable = error.retriable if isinstance(error, CounterpointError) else isinstance(error, _OUTSIDE)
    if retriable:
        # Prefect logs it as well; but a person who waits at the terminal should know for what.
        tell(task.name, f"is tried again, at most {RETRIES} times in all: {error}")
    return retriable


STEP: dict[str, Any] = {
    "retries": RETRIES,
    "retry_delay_seconds": exponential_backoff(backoff_factor=5),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _can_be_retried,
    "persist_result": True,
    "result_serializer": "json",
}
"""Options of every step's task."""


def say(sentence: str) -> str:
    """Log what a step did, or why it had nothing to do; also on the terminal of a person's command."""
    get_run_logger().info(sentence)
    context = TaskRunContext.get()
    tell(context.task.name if context else "", sentence)
    return sentence
