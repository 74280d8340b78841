"""What people do in the Prefect UI, in a real browser: fill in a form, watch, retry, cancel, and read what came out."""

import contextlib
import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from browser import Browser, browsing
from machine import LONG, PATIENCE_S, SMALL, Machine, wait

from cl_core.registry import ENCODERS, LOSSES, METHODS, SOURCES, VIEWS


@pytest.fixture(scope="module")
def browser(machine: Machine) -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture(autouse=True)
def _leave(browser: Browser) -> Iterator[None]:
    yield
    browser.leave()


@pytest.fixture
def form(machine: Machine, browser: Browser) -> Browser:
    """The run form of retrain/free."""
    browser.open(page(machine, f"deployments/deployment/{deployment(machine)}/run"), until="Neighbor score interval")
    return browser


@pytest.fixture
def form_of_a_model(machine: Machine, browser: Browser) -> Browser:
    """The run form of retrain/small, whose runs are serialized in the queue of its model."""
    small = machine.ask("deployments/name/retrain/small")["id"]
    browser.open(page(machine, f"deployments/deployment/{small}/run"), until="Neighbor score interval")
    return browser


def page(machine: Machine, path: str) -> str:
    return f"http://127.0.0.1:{machine.prefect_port}/{path}"


def deployment(machine: Machine) -> str:
    return str(machine.ask("deployments/name/retrain/free")["id"])


def submit(form: Browser, done: Callable[[], bool]) -> None:
    """Send the form, and as a person does once more where the page says that it went wrong.

    Prefect answers 503 when two writers meet in its SQLite database. Its clients ask again, its pages do not.
    """
    form.click("Submit")
    with contextlib.suppress(AssertionError):
        wait(done, 20)
    if not done():
        assert "Oops. Something went wrong." in form.text, form.text
        form.click("Submit")
        wait(done, 30, lambda: form.text)


def titles(schema: dict[str, Any]) -> list[tuple[str, str]]:
    """Title and description of every field, those of groups included."""
    definitions = schema.get("definitions", {})
    found = []
    for field in schema["properties"].values():
        reference = field.get("$ref") or next((one["$ref"] for one in field.get("allOf", [])), "")
        if reference:
            found += titles({**definitions[reference.rpartition("/")[2]], "definitions": definitions})
        else:
            found.append((field["title"], field.get("description", "")))
    return found


def test_the_form_shows_every_field_with_its_description(machine: Machine, form: Browser) -> None:
    schema = machine.ask(f"deployments/{deployment(machine)}")["parameter_openapi_schema"]
    wanted = titles(schema)
    assert len(wanted) > 40
    labels = [label.removesuffix(" (Optional)") for label in form.labels()]
    assert [title for title, _ in wanted if title not in labels] == []
    # Text between backticks is shown as code, without them.
    shown = " ".join(form.text.split())
    assert [text for _, text in wanted if " ".join(text.replace("`", "").split()) not in shown] == []
    form.keep("run-form")


def test_the_form_with_the_queue_of_a_model_takes_no_other_model(machine: Machine, form_of_a_model: Browser) -> None:
    form_of_a_model.keep("form-of-a-model")
    with pytest.raises(AssertionError, match=r"409 .*Validation failed for field 'model_name'.*'other' is not one of"):
        machine.run("retrain/small", {"model_name": "other"})


def test_dropdowns_offer_what_is_registered(form: Browser) -> None:
    for label, registry, besides in (
        ("Method (Optional)", METHODS, []),
        ("Loss (Optional)", LOSSES, ["paper"]),
        ("Views (Optional)", VIEWS, ["paper"]),
        ("Encoder (Optional)", ENCODERS, []),
        ("Source", SOURCES, []),
    ):
        offered = form.choices(label)
        assert set(registry.names()) | set(besides) <= set(offered), label


def test_a_wrong_value_is_refused_with_its_field_before_the_run_starts(machine: Machine, form: Browser) -> None:
    before = machine.ask("flow_runs/count", {})
    form.fill("Epochs (Optional)", "0")
    form.click("Submit")
    form.wait_for("Validation failed for field 'training.epochs'. Failure reason: 0 is less than the minimum of 1")
    form.keep("refused")
    assert machine.ask("flow_runs/count", {}) == before


def test_a_form_that_is_sent_becomes_a_run_that_shows_how_far_it_is_and_is_cancelled(
    machine: Machine, form: Browser
) -> None:
    form.fill("Model name (Optional)", "from-the-form")
    form.fill("Epochs (Optional)", str(LONG["training"]["epochs"]))
    submit(form, lambda: bool(runs_of(machine, "from-the-form")))
    form.leave()
    (run,) = runs_of(machine, "from-the-form")
    assert run["parameters"]["training"]["epochs"] == LONG["training"]["epochs"]

    # The page of an artifact shows what it was when the page was opened.
    wait(lambda: any(one["data"] > 0 for one in artifacts(machine, run["id"], type="progress")), PATIENCE_S)
    (progress,) = artifacts(machine, run["id"], type="progress")
    form.open(page(machine, f"artifacts/artifact/{progress['id']}"), until="samples/s")
    form.keep("progress")
    shown = form.text
    for what in (
        r"epoch [\d.]+",
        r"step \d+ of \d+",
        r"loss [\d.]+",
        r"[\d,]+ samples/s",
        r"\d+ s left",
        r"Progress: \d+",
    ):
        assert re.search(what, shown), f"{what} in {shown}"

    form.open(page(machine, f"runs/flow-run/{run['id']}"), until="Finished in state Completed")
    form.keep("running")
    form.click("Cancel")
    form.wait_for("Cancel Flow Run")
    form.click("Confirm")
    machine.wait_for(run["id"], "CANCELLED", timeout=30)
    form.wait_for("Cancelled")
    form.keep("cancelled")


@dataclass(frozen=True)
class Retried:
    """A run that failed, and that a person retried; and the steps that had finished before: id and end, by name."""

    run: str
    finished: dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def retried(machine: Machine, browser: Browser, two_runs: tuple[str, str]) -> Retried:
    """A run that ended with a second version, beside a champion, once MLflow's experiment was there again."""
    promoted = machine.run("promote/promote", {"model_name": "shapes", "version": 1, "reason": "somebody has to be"})
    assert machine.wait_for(promoted)["type"] == "COMPLETED", machine.logs(promoted)
    experiment = mlflow(machine, "experiments/get-by-name?experiment_name=shapes")["experiment"]["experiment_id"]
    mlflow(machine, "experiments/delete", {"experiment_id": experiment})
    run = machine.run("retrain/small", {**SMALL, "training": {**SMALL["training"], "seed": 3}})
    assert machine.wait_for(run)["type"] == "FAILED"
    machine.wait_for_log(run, "experiment 'shapes' has been deleted; restore it with")
    before = finished(machine, run)

    mlflow(machine, "experiments/restore", {"experiment_id": experiment})
    browser.open(page(machine, f"runs/flow-run/{run}"), until="Retry")
    browser.keep("failed")
    browser.click("Retry")
    browser.wait_for("Any task runs without a persisted result will be run again.")
    browser.keep("retry")
    # The button of the dialogue, which lies above the page's own.
    browser.click("Retry")
    wait(lambda: machine.ask(f"flow_runs/{run}")["state"]["type"] != "FAILED", 60, lambda: browser.text)
    browser.leave()
    machine.wait_for(run)
    return Retried(run, before)


def test_a_failed_run_that_is_retried_resumes(machine: Machine, browser: Browser, retried: Retried) -> None:
    assert machine.state(retried.run)["type"] == "COMPLETED", machine.logs(retried.run)
    assert machine.ask(f"flow_runs/{retried.run}")["run_count"] == 2
    assert "Traceback" not in machine.logs(retried.run), "of a foreseen error, the log has the sentence"
    before, after = retried.finished, finished(machine, retried.run)
    assert {"preflight", "ingest", "validate", "plan", "pretrain", "evaluate"} <= set(before)
    assert {name: after[name] for name in before} == before, "steps that had finished were not run again"
    assert {"register", "promote", "report"} <= set(after)
    browser.open(page(machine, f"runs/flow-run/{retried.run}"), until="Completed")
    browser.keep("completed")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("data-profile", ["365", "35", "quarantine"]),
        ("scores", ["linear_probe.accuracy", "trained", "untrained", "raw pixels", "champion"]),
        ("decision", ["version 2 is not promoted", "linear_probe.accuracy"]),
        ("links", ["MLflow run", "Model version", "Report"]),
        ("time-accounting", ["pretrain", "attempts", "cpu", "lost"]),
        ("retrain-report", ["linear_probe"]),
    ],
)
def test_after_a_run_its_artifacts_say_what_came_of_it(
    machine: Machine, browser: Browser, retried: Retried, key: str, said: list[str]
) -> None:
    # Of its second attempt.
    found = artifacts(machine, retried.run, key=key)[0]
    browser.open(page(machine, f"artifacts/artifact/{found['id']}"), until=key)
    for text in said:
        wait(lambda text=text: text.lower() in browser.text.lower(), 20, lambda text=text: f"{text} in {browser.text}")
    browser.keep(key)


def test_the_links_of_a_run_lead_to_its_run_version_and_report(
    machine: Machine, browser: Browser, retried: Retried
) -> None:
    found = artifacts(machine, retried.run, key="links")[0]
    links = dict(re.findall(r"- ([^:]+): <(http[^>]+)>", found["data"]))
    for name, text in {"MLflow run": "linear_probe", "Model version": "Version 2", "Report": "version-2-"}.items():
        browser.open(links[name], until=text)
        browser.keep(name.lower().replace(" ", "-"))


def runs_of(machine: Machine, model_name: str) -> list[dict[str, Any]]:
    runs = machine.ask("flow_runs/filter", {})
    return [run for run in runs if run["parameters"].get("model_name") == model_name]


def artifacts(machine: Machine, run: str, **wanted: str) -> list[dict[str, Any]]:
    """Those of a run, the newest first."""
    of_run = {"flow_run_id": {"any_": [run]}} | {name: {"any_": [value]} for name, value in wanted.items()}
    found: list[dict[str, Any]] = machine.ask("artifacts/filter", {"artifacts": of_run, "sort": "CREATED_DESC"})
    return found


def finished(machine: Machine, run: str) -> dict[str, tuple[str, str]]:
    """Id and end of the completed step runs, by step."""
    found = machine.ask("task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    return {
        one["name"].rsplit("-", 1)[0]: (one["id"], one["end_time"])
        for one in found
        if one["state"]["type"] == "COMPLETED"
    }


def mlflow(machine: Machine, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{machine.mlflow}/api/2.0/mlflow/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.loads(answer.read() or b"{}")
        return found
