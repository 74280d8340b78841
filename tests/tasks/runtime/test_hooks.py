"""What every flow does when it begins and ends."""

import inspect
import logging

import pytest
from prefect.exceptions import ParameterTypeError, SignatureMismatchError

from cl_core.errors import DataError
from flows.retrain import retrain
from tasks.runtime import hooks
from tasks.runtime.hooks import FLOW


def test_hooks_take_what_prefect_gives_them_in_order_and_by_name():
    """In the flow's own process Prefect calls hooks in order; when it cancels a run, its worker calls them by name."""
    for when in ("on_running", "on_completion", "on_cancellation", "on_failure", "on_crashed"):
        for hook in FLOW[when]:
            parameters = inspect.signature(hook)
            by_name = parameters.bind(flow="flow", flow_run="run", state="state")
            assert parameters.bind("flow", "run", "state").arguments == by_name.arguments, f"{when}: {hook}"


@pytest.mark.parametrize(("error", "has_traceback"), [(DataError("no images in parts"), False), (OSError("?"), True)])
def test_the_log_of_a_run_has_the_sentence_of_a_foreseen_error_and_the_traceback_of_another(error, has_traceback):
    record = logging.LogRecord(
        "prefect.task_runs", logging.ERROR, __file__, 1, "Encountered %r", (error,), (type(error), error, None)
    )
    assert hooks._WITHOUT_TRACEBACK.filter(record)
    assert (record.exc_info is not None) == has_traceback
    assert record.getMessage() == ("Encountered OSError('?')" if has_traceback else "no images in parts")


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        (
            {"data": {"name": "a", "source": "colors"}, "training": {"warmup_epochs": 3, "epochs": 1}},
            "training: warmup_epochs 3 must be less than epochs 1",
        ),
        ({"data": {"name": "a/b", "source": "colors"}}, "data.name: string should match pattern"),
        ({"data": {"name": "a", "source": "colors"}, "colour": "red"}, "Function expects parameters"),
    ],
)
def test_parameters_that_only_a_validator_refuses_have_one_sentence(parameters, sentence):
    with pytest.raises((ParameterTypeError, SignatureMismatchError)) as refused:
        retrain.validate_parameters(parameters)
    shown = hooks._sentence(refused.value)
    assert shown is not None and shown.startswith(sentence) and "\n" not in shown
    assert FLOW["on_failure"][0].__name__ == "_shorten_log", "such a run never begins"
