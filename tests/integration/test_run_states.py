"""How a run ends in Prefect that a person stopped, or that ended with a foreseen error."""

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from filelock import FileLock
from machine import SMALL, wait

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


def run_as_a_worker_does(cl: CommandLine, flow: str, parameters: dict[str, object]) -> dict[str, Any]:
    """A run of a flow in a process of its own, which was asked for with these parameters through Prefect's API."""
    flow_id = ask(cl, "flows/", {"name": flow})["id"]
    run = ask(cl, "flow_runs/", {"flow_id": flow_id, "parameters": parameters, "state": {"type": "PENDING"}})["id"]
    settings = {"CL_HOME": str(cl.home), "PREFECT_API_URL": cl.prefect, "PREFECT__FLOW_RUN_ID": run}
    subprocess.run(
        [sys.executable, "-P", "-m", "prefect.flow_engine", f"flows.{flow}.{flow}"],
        env={**os.environ, **settings},
        check=False,
        capture_output=True,
        timeout=120,
    )
    (found,) = ask(cl, "flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    return found


def log_of(cl: CommandLine, run: str) -> str:
    lines = ask(cl, "logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"})
    return "\n".join(line["message"] for line in lines)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"training": {**SMALL["training"], "warmup_epochs": 3, "epochs": 1}},
            "training: warmup_epochs 3 must be less than epochs 1: the learning rate would never reach its peak",
        ),
        pytest.param(
            {"data": {"name": "parts", "source": "image_folder", "location": "/nowhere/parts"}},
            "data.location: there is no folder /nowhere/parts; give the folder with the images",
            marks=pytest.mark.sweep,
        ),
    ],
)
def test_a_foreseen_error_fails_a_run_with_its_sentence_and_no_traceback_in_its_log(
    cl: CommandLine, changes: dict[str, object], sentence: str
) -> None:
    run = run_as_a_worker_does(cl, "retrain", {**SMALL, **changes})
    assert (run["state_name"], run["state"]["message"]) == ("Failed", sentence)
    deadline = time.monotonic() + 30
    while sentence not in (log := log_of(cl, run["id"])):
        assert time.monotonic() < deadline, log
        time.sleep(0.2)
    assert "Traceback" not in log
    # Of what a step has refused, the step's state says the same.
    steps = ask(cl, "task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    assert all(step["state"]["message"] == sentence for step in steps if step["state_name"] == "Failed")
