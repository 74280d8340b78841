"""Which errors a step tries again: what a machine or a network did, never what a person has to fix."""

import asyncio
from types import SimpleNamespace

import pytest
from prefect.states import exception_to_failed_state

from cl_core import errors
from tasks.registration import find_version
from tasks.runtime.step import STEP, check_attempts


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (errors.StoreUnreachableError("MLflow at http://127.0.0.1:1 does not answer"), True),
        (errors.WorkersLostError("workers died"), True),
        (ConnectionResetError("reset by peer"), True),
        (TimeoutError("timed out"), True),
        (errors.SpecError("training.batch_size: 3 is not divisible by 2 workers"), False),
        (errors.DataError("the folder is empty"), False),
        (errors.NotFiniteLossError("the loss became nan"), False),
        (errors.IntegrityError("a byte has changed"), False),
        (errors.StorageFullError("no space left"), False),
        (KeyError("a bug of our own"), False),
    ],
)
def test_only_what_may_succeed_later_is_retried_and_the_log_says_so(
    error: Exception, again: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async def asked() -> bool:
        state = await exception_to_failed_state(error)
        return bool(await STEP["retry_condition_fn"](find_version, SimpleNamespace(run_count=1), state))

    assert asyncio.run(asked()) is again
    said = capsys.readouterr().err
    assert said.endswith(f"find version  retrying (1 of 3): {error}\n") if again else said == ""


def test_a_flow_without_a_preflight_stops_too_when_its_process_has_died_ten_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT", "10")
    check_attempts()
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT", "11")
    with pytest.raises(errors.TooManyAttemptsError, match="died 10 times, so it is not retried again") as refused:
        check_attempts()
    assert not refused.value.retriable
