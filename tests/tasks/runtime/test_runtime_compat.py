"""What Counterpoint uses of Prefect's engine beyond its interface is still there."""

import asyncio
import inspect
import signal

import pytest
from prefect import Flow, flow_engine, states, task_engine
from prefect._internal import control_listener
from prefect._internal import states as internal_states
from prefect.exceptions import ParameterTypeError, SignatureMismatchError, TerminationSignal
from prefect.results import ResultRecord, ResultRecordMetadata
from prefect.serializers import JSONSerializer
from pydantic import ValidationError

from cl_core.errors import DataError
from tasks.runtime import hooks
from tasks.runtime.compat import RunCancelled, name_failures, refused_parameters, run_cancelled


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


def test_the_engines_make_the_state_of_what_failed_with_the_function_that_is_replaced(monkeypatch) -> None:
    for module in (states, internal_states):
        monkeypatch.setattr(module, "Failed", inspect.unwrap(module.Failed))
    error = DataError("no images in parts")

    def of_run(error: Exception) -> str | None:
        made = states.exception_to_failed_state(error, message="Flow run encountered an exception:")
        return asyncio.run(made).message

    def of_step(error: Exception) -> str | None:
        return internal_states.exception_to_failed_state_sync(error, message="It was").message

    assert of_run(error) == "Flow run encountered an exception: DataError: no images in parts", "it is still needed"
    assert of_step(error) == "It was DataError: no images in parts", "it is still needed"
    name_failures(lambda error: str(error) if isinstance(error, DataError) else None)
    assert of_run(error) == of_step(error) == "no images in parts"
    assert of_step(OSError("full")) == "It was OSError: full"
    # What is persisted is a record of the error.
    record = ResultRecord(result=error, metadata=ResultRecordMetadata(storage_key="a", serializer=JSONSerializer()))
    assert states.Failed(data=record, message="?").message == "no images in parts"
    for function in (states.exception_to_failed_state, internal_states.exception_to_failed_state_sync):
        assert "data = result_store.create_result_record(exc, key=key)" in inspect.getsource(function)
    assert states.Failed(message="by hand").message == "by hand"
    for engine, name in (
        (flow_engine.FlowRunEngine, "exception_to_failed_state("),
        (task_engine.SyncTaskRunEngine, "exception_to_failed_state_sync("),
    ):
        assert name in inspect.getsource(engine.handle_exception)
    assert "self.handle_exception(" in inspect.getsource(flow_engine.FlowRunEngine.begin_run)


def test_prefect_keeps_pydantics_error_beside_its_own_about_parameters() -> None:
    def taking(number: int) -> None: ...

    with pytest.raises(ParameterTypeError) as refused:
        Flow(taking).validate_parameters({"number": "two"})
    parts = refused_parameters(refused.value)
    assert parts is not None and isinstance(parts[1], ValidationError)
    with pytest.raises(SignatureMismatchError) as unknown:
        Flow(taking).validate_parameters({"numbre": 2})
    assert refused_parameters(unknown.value) == (str(unknown.value), None)
    assert refused_parameters(ValueError("another")) is None


def test_a_flow_has_failures_named_once_it_is_defined() -> None:
    assert hooks.FLOW
    assert inspect.unwrap(states.Failed) is not states.Failed
