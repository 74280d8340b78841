"""What Counterpoint uses of Prefect's engine beyond its documented interface.

tests/tasks/runtime/test_runtime_compat.py checks each part, so that an upgrade that breaks one is noticed.
"""

import signal

from prefect._internal import control_listener
from prefect.exceptions import TerminationSignal


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
