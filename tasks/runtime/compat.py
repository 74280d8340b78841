"""What Counterpoint uses of Prefect's engine beyond its documented interface.

tests/tasks/runtime/test_runtime_compat.py checks each part, so that an upgrade that breaks one is noticed.
"""

import functools
import signal
from collections.abc import Callable
from typing import Any

from prefect import states
from prefect._internal import control_listener
from prefect._internal import states as _internal_states
from prefect._internal.result_records import ResultRecord
from prefect.client.schemas.objects import State
from prefect.exceptions import ParameterBindError, ParameterTypeError, SignatureMismatchError, TerminationSignal
from pydantic import ValidationError

_FAILED = "Failed"
_REFUSED_PARAMETERS = (ParameterTypeError, SignatureMismatchError, ParameterBindError)


class RunCancelled(TerminationSignal, KeyboardInterrupt):
    """Ctrl-C on the terminal, as Prefect's engine understands a cancellation; its message is for the terminal."""

    def __init__(self, message: str) -> None:
        super().__init__(signal.SIGINT)
        self.args = (message,)


def run_cancelled(message: str) -> RunCancelled:
    """Return what a step raises so that its flow run ends as Cancelled.

    The engine takes every KeyboardInterrupt for a crash. A termination that its control listener announced is a
    cancellation; only Prefect's runner, which a command has not, announces one.
    https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/flow_engine.py (`except TerminationSignal`)
    """
    control_listener._set_intent("cancel")
    return RunCancelled(message)


def refused_parameters(error: BaseException | None) -> tuple[str, ValidationError | None] | None:
    """Return Prefect's sentence about parameters that a flow does not take, and pydantic's error; None for others.

    Prefect raises its own error instead of pydantic's, which stays its context.
    https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/flows.py (`Flow.validate_parameters`)
    """
    if not isinstance(error, _REFUSED_PARAMETERS):
        return None
    cause = error.__context__
    return str(error), cause if isinstance(cause, ValidationError) else None


def name_failures(sentence_of: Callable[[BaseException | None], str | None]) -> None:
    """Let states of runs and steps that failed have an error's sentence as their message, where there is one.

    Prefect writes "Flow run encountered an exception: DataError: ...". A hook is called when the state is set, and the
    message of a state that is set cannot be changed. Parameters are validated before the first hook is called. An
    engine may run as `__main__`, apart from the module of its name, but all of them make their states here.
    https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/states.py (`exception_to_failed_state`)
    https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/_internal/states.py (`exception_to_failed_state_sync`)
    """
    failed = states.Failed

    @functools.wraps(failed)
    def named(*args: Any, **kwargs: Any) -> State[Any]:
        data = kwargs.get("data")
        error = data.result if isinstance(data, ResultRecord) else data
        if isinstance(error, BaseException) and (sentence := sentence_of(error)):
            kwargs["message"] = sentence
        return failed(*args, **kwargs)

    for module in (states, _internal_states):
        setattr(module, _FAILED, named)
