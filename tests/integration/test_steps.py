"""Each step by itself: validate, register while MLflow is down, report what was decided and what was not."""

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from clothes import CLOTHES
from forked import SHORT_PAUSES
from machine import wait
from servers import ANSWERED_S, Door, give_store, serving

from .conftest import CommandLine, Finished
from .golden import SPECS


@pytest.fixture(scope="module")
def evaluated(golden_cl: CommandLine) -> CommandLine:
    """A home whose training and evaluation are up to date."""
    return golden_cl


@pytest.fixture(scope="module")
def dead_address() -> Iterator[str]:
    """Where no MLflow ever answers."""
    door = Door()
    yield door.address
    door.close()


@pytest.fixture(scope="module")
def registered(evaluated: CommandLine) -> Iterator[tuple[Finished, str]]:
    """A registration whose MLflow begins to answer after the step has failed, and the address of that MLflow."""
    door = Door()
    give_store(evaluated.home.parent)
    with serving(evaluated.home.parent) as (server, _):
        arguments = ("register", "--model-name", "clothes")
        with evaluated.start(*arguments, recipe=SPECS, MLFLOW_TRACKING_URI=door.address) as run:
            # The first step asks already: which data the model was trained on.
            wait(lambda: "preflight  retrying" in run.errors, 120, lambda: run.errors)
            door.open(server)
            out, err = run.communicate(timeout=120)
        yield Finished(run.returncode, out, err), door.address
        door.close()


def test_a_registration_waits_for_an_mlflow_that_is_down(
    registered: tuple[Finished, str], evaluated: CommandLine
) -> None:
    finished, address = registered
    assert finished.code == 0, finished.err
    assert finished.out == "models:/clothes/1\n"
    assert f"preflight  retrying (1 of 3): MLflow at {address} does not answer" in finished.err
    assert "registered as models:/clothes/1" in finished.err
    # The very task that had failed, of the same run.
    wait_for_state("Completed", evaluated, "clothes")


def test_what_that_wait_cost_is_recorded_apart_from_the_work(registered: tuple[Finished, str]) -> None:
    [line] = [line for line in registered[0].err.splitlines() if line.strip().startswith("time  ")]
    lost = re.search(r"([\d.]+) s lost, ([\d.]+) s waited between attempts: preflight \((\d) attempts\)$", line)
    assert lost is not None, line
    # MLflow is asked for 0.7 s before an attempt is given up, and the first pause is at least half a second.
    assert sum((1, 2, 4)) * float(SHORT_PAUSES["CL_STORE_PAUSE_S"]) == pytest.approx(0.7)
    assert float(lost[1]) >= 0.7 and float(lost[2]) >= 0.5 * float(SHORT_PAUSES["CL_RETRY_DELAY_S"])
    assert int(lost[3]) >= 2


def test_a_report_of_a_version_without_a_decision_says_so(
    registered: tuple[Finished, str], evaluated: CommandLine
) -> None:
    finished, page = reported(evaluated, registered[1])
    assert "models:/clothes/1 was made by training" in finished.err
    assert "No decision yet" in page
    assert "knn_20.accuracy" in page


def test_a_report_shows_the_decision_that_was_recorded_last_and_decides_nothing(
    registered: tuple[Finished, str], evaluated: CommandLine
) -> None:
    _, address = registered
    evaluated.run("promote", "clothes", "1", "--reason", "wanted for the shop", MLFLOW_TRACKING_URI=address)
    _, page = reported(evaluated, address)
    assert "Version 1 is the champion" in page
    assert "version 1 is promoted by hand: wanted for the shop" in page


def test_a_report_of_specs_without_a_version_is_refused_before_anything_is_trained(
    registered: tuple[Finished, str], evaluated: CommandLine
) -> None:
    trained = set((evaluated.home / "trainings").iterdir())
    finished = evaluated.run(
        "report", "--model-name", "clothes", "--training.seed", "7", recipe=SPECS, MLFLOW_TRACKING_URI=registered[1]
    )
    assert finished.code == 2
    assert "no version of 'clothes' was made by training" in finished.error
    assert "there are: 1. `cl register` with the same options registers it" in finished.error
    assert set((evaluated.home / "trainings").iterdir()) == trained


def test_a_registration_on_other_data_is_refused_before_it_is_read_unless_a_person_allows_it(
    registered: tuple[Finished, str], evaluated: CommandLine
) -> None:
    """A forgotten or mistyped --data.name made another data set's encoder the champion."""
    other = ("register", "--model-name", "clothes", "--data.name", "emoji")
    refused = evaluated.run(*other, recipe=SPECS, MLFLOW_TRACKING_URI=registered[1])
    assert (refused.code, refused.out) == (2, "")
    assert refused.error == (
        "error: data: 'clothes' was trained on other data (models:/clothes/1 on 'shapes', grayscale images of 8 x 8 "
        "pixels) than this run asks for ('emoji', images of 8 x 8 pixels); correct data.name or the options of the "
        "data, choose another model_name, or set allow_new_data (--allow-new-data) to retrain this model on the new "
        "data"
    )
    assert not (evaluated.home / "datasets" / "emoji").exists()
    allowed = evaluated.run(*other, "--allow-new-data", recipe=SPECS, MLFLOW_TRACKING_URI=registered[1])
    # The samples are the same, hence the training and its version.
    assert (allowed.code, allowed.out) == (0, "models:/clothes/1\n"), allowed.err


def test_validation_is_printed_as_a_table_with_near_duplicates(evaluated: CommandLine) -> None:
    finished = evaluated.run("validate", recipe={name: CLOTHES[name] for name in ("data", "compute")})
    assert finished.code == 0, finished.err
    rows = dict(re.findall(r"│ (.+?) +│ (.+?) +│", finished.out))
    assert rows["training samples"] == "2,000"
    assert rows["test samples"] == "500"
    assert rows["classes"] == "10"
    assert rows["training samples of the rarest class"] == "200"
    assert rows["quarantined inputs"] == "0 (0.0%)"
    near = int(rows["test samples with a near-duplicate in training"].split()[0])
    assert 0 < near <= int(rows["near-duplicate pairs (at most 3 of 64 bits differ)"])
    # Of 500 test samples, one in twenty is worth a warning, which names rows of the file.
    assert ("scores may be too high" in finished.err) == (near > 25), near
    assert ".parquet#" in rows["closest pairs (training, test)"]


def test_an_mlflow_that_never_comes_ends_the_run_after_three_more_tries(
    dead_address: str, evaluated: CommandLine
) -> None:
    finished = evaluated.run("register", "--model-name", "in-vain", recipe=SPECS, MLFLOW_TRACKING_URI=dead_address)
    assert (finished.code, finished.out) == (1, "")
    assert finished.error.startswith(f"error: MLflow at {dead_address} does not answer")
    assert finished.err.count("preflight  retrying") == 3
    wait_for_state("Failed", evaluated, "in-vain", step="preflight")


def reported(cl: CommandLine, address: str) -> tuple[Finished, str]:
    """What `cl report` did, and the page that it names."""
    finished = cl.run("report", "--model-name", "clothes", recipe=SPECS, MLFLOW_TRACKING_URI=address)
    assert finished.code == 0, finished.err
    return finished, Path(finished.out.strip()).read_text()


def wait_for_state(name: str, cl: CommandLine, model_name: str, *, step: str = "register") -> None:
    """Return when Prefect's server says that a step of the one registration of a model is in this state."""
    deadline = time.monotonic() + 120
    while (seen := states(cl, model_name, step)) != [name]:
        assert time.monotonic() < deadline, seen
        time.sleep(0.2)


def states(cl: CommandLine, model_name: str, step: str) -> list[object]:
    runs = ask(cl, "flow_runs/filter", {"flows": {"name": {"any_": ["register"]}}})
    wanted = [run["id"] for run in runs if run["parameters"]["model_name"] == model_name]
    tasks = ask(cl, "task_runs/filter", {"flow_runs": {"id": {"any_": wanted}}}) if wanted else []
    return [run["state_name"] for run in tasks if run["name"].startswith(f"{step}-")]


def ask(cl: CommandLine, path: str, body: dict[str, object]) -> "list[dict[str, object]]":
    request = urllib.request.Request(
        f"{cl.prefect}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=ANSWERED_S) as answer:
        return json.load(answer)
