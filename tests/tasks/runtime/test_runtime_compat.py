"""What Counterpoint uses of Prefect's engine beyond its interface is still there."""

import inspect
import signal

import pytest
from prefect import flow_engine
from prefect._internal import control_listener
from prefect.exceptions import TerminationSignal

from tasks.runtime.compat import RunCancelled, run_cancelled


def test_the_engine_takes_an_announced_termination_for_a_cancellation_and_the_command_for_ctrl_c() -> None:
    try:
        cancelled = run_cancelled("interrupted at step 3 of 9")
        assert flow_engine._termination_intent() == "cancel"
    finally:
        control_listener.clear_intent()
    assert str(cancelled) == "interrupted at step 3 of 9" and cancelled.signal == signal.SIGINT
    for kind in (TerminationSignal, KeyboardInterrupt):
        with pytest.raises(kind):
            raise cancelled
    engine = inspect.getsource(flow_engine.FlowRunEngine)
    assert engine.index("except TerminationSignal") < engine.index("except BaseException")
    assert issubclass(RunCancelled, TerminationSignal)
