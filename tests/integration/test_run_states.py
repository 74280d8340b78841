"""How a run ends in Prefect that a person stopped, or that ended with a foreseen error."""

import signal
from typing import Any

from filelock import FileLock
from machine import wait

from .conftest import CommandLine
from .golden import SPECS
from .test_steps import ask

MODEL = "waiting"


def runs(cl: CommandLine, flow: str, **parameters: object) -> list[dict[str, Any]]:
    """The runs of a flow with these parameters."""
    found = ask(cl, "flow_runs/filter", {"flows": {"name": {"any_": [flow]}}})
    return [run for run in found if parameters.items() <= run["parameters"].items()]


def test_ctrl_c_while_a_run_waits_for_another_one_of_its_model_cancels_it(cl: CommandLine) -> None:
    """Only steps made it a cancellation; the run was shown as crashed."""
    lock = cl.home / "work" / "locks" / f"{MODEL}.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock), cl.start("retrain", "--model-name", MODEL, recipe=SPECS) as process:
        wait(lambda: "waiting for another run, which retrains waiting" in process.errors, 60, lambda: process.errors)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip().splitlines()[-1] == (
        "error: interrupted; completed steps are kept, run the same command to resume"
    )
    assert "Traceback" not in err
    (run,) = runs(cl, "retrain", model_name=MODEL)
    assert run["state_name"] == "Cancelled"
