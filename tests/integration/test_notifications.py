"""Notifications: messages through a real webhook, what the Prefect UI shows, and what `cl explain` says."""

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from servers import ANSWERED_S, free_port
from webhook import SECRET, Webhook, in_prefect, listening, save_block

from cl_core.hashing import source_digest
from tasks.adapters.mlflow.connection import connected
from tasks.adapters.mlflow.model_version import lineage_from_tags

from .conftest import CommandLine, Finished

# Two epochs: too few to be better than the untrained encoder, so that the gate refuses.
SHAPES: dict[str, Any] = {
    "model_name": "shapes",
    "data": {"name": "shapes", "source": "synthetic", "source_options": {"count": 400}},
    "training": {"encoder": "mlp", "epochs": 2, "batch_size": 50, "warmup_epochs": 0.1, "precision": "fp32"},
    "evaluation": {"protocols": ["knn", "geometry"], "resamples": 100},
    "promotion": {"score": "knn_20.accuracy"},
    "compute": {"threads": 1, "checkpoint_every_s": 0.001, "report_every_s": 0},
}
# 101 samples cannot be shared by two workers: the step `plan` refuses.
WRONG = ("--training.batch-size", "101", "--compute.workers", "2", "--compute.threads", "2")
PRETRAINING = {name: SHAPES[name] for name in ("data", "training", "compute")}


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    with listening() as webhook:
        yield webhook


@pytest.fixture(scope="module")
def block(webhook: Webhook, prefect_server: str) -> str:
    return save_block(prefect_server, "oncall", webhook.address)


@pytest.fixture(scope="module")
def refused(shared_cl: CommandLine, block: str) -> Finished:
    """A run whose version the gate refuses, which the webhook receives."""
    finished = shared_cl.run("retrain", recipe=SHAPES, CL_NOTIFY=block)
    assert finished.code == 0, finished.err
    return finished


@pytest.fixture(scope="module")
def changed(refused: Finished, shared_cl: CommandLine, webhook: Webhook, block: str) -> dict[str, Any]:
    """A run of the same model with another seed."""
    finished = shared_cl.run("retrain", "--training.seed", "1", recipe=SHAPES, CL_NOTIFY=block)
    assert finished.code == 0, finished.err
    assert webhook.next().subject == "The gate refused version 2 of shapes"
    return last_run(shared_cl)


def test_a_refused_version_is_notified_with_its_reason_once(
    refused: Finished, webhook: Webhook, block: str, shared_cl: CommandLine
) -> None:
    message = webhook.next()
    assert message.subject == "The gate refused version 1 of shapes"
    first, *rest = message.body.splitlines()
    lines = dict(line.split(": ", 1) for line in rest)
    assert first == "The gate refused version 1 of shapes."
    assert (lines["Model"], lines["Version"]) == ("shapes", "1")
    assert lines["Reason"].startswith("version 1 is not promoted: knn_20.accuracy is not proven better")
    assert lines["Run"] == f"{shared_cl.prefect.removesuffix('/api')}/runs/flow-run/{last_run(shared_cl)['id']}"
    again = shared_cl.run("retrain", recipe=SHAPES, CL_NOTIFY=block)
    assert "version 1 is not promoted" in again.err
    assert webhook.messages.empty(), "the same version, refused for the same reason, is no news"


def test_each_change_of_champion_is_notified_and_what_changes_nothing_is_not(
    changed: dict[str, Any], webhook: Webhook, block: str, shared_cl: CommandLine
) -> None:
    for command in (
        ("promote", "shapes", "1", "--reason", "wanted"),
        ("promote", "shapes", "1"),
        ("promote", "shapes", "2"),
        ("rollback", "shapes", "--reason", "it went wrong"),
    ):
        finished = shared_cl.run(*command, CL_NOTIFY=block)
        assert finished.code == 0, finished.err
    subjects = [webhook.next() for _ in range(3)]
    assert [message.subject for message in subjects] == [
        "The champion of shapes is now version 1",
        "The champion of shapes is now version 2, after version 1",
        "The champion of shapes is now version 1, after version 2",
    ]
    assert "Reason: version 1 is promoted by hand: wanted" in subjects[0].body
    assert "it went wrong" in subjects[2].body
    assert webhook.messages.empty()


def test_a_failed_run_is_notified_with_its_reason_and_without_the_setting_no_one_is(
    webhook: Webhook, block: str, shared_cl: CommandLine
) -> None:
    assert shared_cl.run("pretrain", *WRONG, recipe=PRETRAINING).code == 2
    assert webhook.messages.empty()
    finished = shared_cl.run("pretrain", *WRONG, recipe=PRETRAINING, CL_NOTIFY=block, MLFLOW_TRACKING_PASSWORD="s3cr3t")
    assert finished.code == 2
    message = webhook.next()
    run = last_run(shared_cl)
    assert message.subject == f"Run {run['name']} of pretrain has failed"
    assert "Reason: " in message.body and "101 is not divisible by 2 workers" in message.body
    assert f"/runs/flow-run/{run['id']}" in message.body
    assert "s3cr3t" not in message.body
    assert message.path == f"/{SECRET}"
    said = finished.err + finished.out + logged(shared_cl, run["id"])
    assert SECRET not in said and webhook.address not in said


def test_a_message_that_cannot_be_delivered_fails_nothing_and_is_named_without_its_address(
    shared_cl: CommandLine, refused: Finished
) -> None:
    # Bound, so that nobody else takes it, and never listening.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        undelivered(shared_cl, save_block(shared_cl.prefect, "closed", address), "ConnectError", address)
    undelivered(shared_cl, "custom-webhook/nobody", "CL_NOTIFY: there is no block", address)


def undelivered(cl: CommandLine, block: str, cause: str, address: str) -> None:
    """Check that a failed run says that no one could be notified, and fails as it would without that."""
    finished = cl.run("pretrain", *WRONG, recipe=PRETRAINING, CL_NOTIFY=block)
    assert (finished.code, finished.error.split(":")[1]) == (2, " training.batch_size")
    for said in (finished.err, logged(cl, last_run(cl)["id"])):
        assert f"through block {block} ({cause}" in said, said
        assert "correct the block in the Prefect UI, or unset CL_NOTIFY" in said
        assert SECRET not in said and address not in said


def test_the_server_itself_notifies_of_failed_and_crashed_runs_and_the_run_leaves_it_to_it(
    webhook: Webhook, block: str, shared_cl: CommandLine
) -> None:
    program = f"""
from prefect import get_client
from flows.deployments.automations import failure_automations
with get_client(sync_client=True) as client:
    for one in failure_automations({block!r}, restart_within_s=10):
        print(client.create_automation(one))
"""
    made = in_prefect(shared_cl.prefect, program).split()
    try:
        assert shared_cl.run("pretrain", *WRONG, recipe=PRETRAINING, CL_NOTIFY=block).code == 2
        run = last_run(shared_cl)
        message = webhook.next()
        assert message.subject == f"Run {run['name']} of pretrain has failed"
        assert "101 is not divisible by 2 workers" in message.body
        assert f"Run: {shared_cl.prefect.removesuffix('/api')}/runs/flow-run/{run['id']}" in message.body

        # As the heartbeat's automation does it for a process that was killed.
        flow = ask(shared_cl, "flows/", {"name": "retrain"})
        running = {"type": "RUNNING"}
        parameters = {"model_name": "shapes"}
        killed = ask(shared_cl, "flow_runs/", {"flow_id": flow["id"], "state": running, "parameters": parameters})
        state = {"type": "CRASHED", "message": "Its process sent no heartbeat for 90 s."}
        ask(shared_cl, f"flow_runs/{killed['id']}/set_state", {"state": state})
        message = webhook.next()
        assert message.subject == f"Run {killed['name']} of retrain has crashed"
        assert "Model: shapes\nReason: Its process sent no heartbeat for 90 s.\n" in message.body
        assert webhook.messages.empty()
    finally:
        for automation in made:
            request = urllib.request.Request(f"{shared_cl.prefect}/automations/{automation}", method="DELETE")
            urllib.request.urlopen(request, timeout=ANSWERED_S).close()


def test_registering_deployments_makes_and_removes_those_automations_as_the_setting_says(
    block: str, shared_cl: CommandLine
) -> None:
    program = """
import os
from prefect import get_client
from flows.deployments.apply import apply_deployments
from tasks.runtime.notifications import CRASHED, FAILED
ours = lambda: {one.name for one in client.read_automations() if one.name in (CRASHED, FAILED)}
with get_client(sync_client=True) as client:
    before = {one.id for one in client.read_automations()}
    try:
        for block in (%r, %r, "custom-webhook/nobody", ""):
            os.environ["CL_NOTIFY"] = block
            apply_deployments("pool", [], source="prefect.yaml")
            print(len(ours()), len(client.read_automations()))
    finally:
        for one in client.read_automations():
            if one.id not in before:
                client.delete_automation(one.id)
"""
    made = in_prefect(shared_cl.prefect, program % (block, block)).split()
    assert made[::2] == ["2", "2", "0", "0"]
    assert made[1] == made[3] and int(made[5]) == int(made[1]) - 2, "registered again, nothing is doubled"


def test_the_prefect_ui_shows_data_scores_decision_links_and_costs(refused: Finished, shared_cl: CommandLine) -> None:
    run = first_run(shared_cl)
    shown = {
        one["key"]: one for one in ask(shared_cl, "artifacts/filter", of_run(run["id"], "artifacts")) if one["key"]
    }
    profile = shown["data-profile"]["data"]
    for words in ("356 train", "44 test", "4 classes", "Quarantined | none of 400 inputs", "28 x 28 (400)"):
        assert words in profile, words
    assert "Near-duplicates" in profile and "no earlier snapshot of shapes" in profile
    assert (
        "version 1 is not promoted" in shown["decision"]["data"] and "Champion now | none" in shown["decision"]["data"]
    )
    columns = set(json.loads(shown["scores"]["data"])[0])
    assert {"score", "trained", "untrained", "raw pixels"} <= columns
    links = shown["links"]["data"]
    assert "models:/shapes/1" in links and "mlflow ui --backend-store-uri sqlite:///" in links
    progress = shown["training-progress"]
    assert progress["data"] == 100
    for words in ("epoch 2.00", "step 12 of 12", "loss ", "samples/s", "0 s left"):
        assert words in progress["description"], progress["description"]
    costs = {row["step"]: row for row in json.loads(shown["time-accounting"]["data"])}
    assert float(costs["pretrain"]["seconds"]) > 0 and float(costs["pretrain"]["CPU-seconds"]) > 0
    assert costs["total"]["why"] == "nothing lost to retries"
    assert float(costs["total"]["seconds"]) == pytest.approx(
        sum(float(row["seconds"]) for step, row in costs.items() if step != "total"), abs=0.6
    )


def test_a_run_ends_with_what_it_cost_on_the_terminal_and_in_the_report(refused: Finished) -> None:
    [line] = [line for line in refused.err.splitlines() if line.strip().startswith("time  ")]
    assert re.search(r"pretrain \d.* s \(\d+\.\d CPU-s\).*; total \d.*; nothing lost to retries$", line), line
    page = re.search(r"Report\s+(\S+)", refused.out)
    assert page is not None
    html = Path(page.group(1)).read_text()
    time = html[html.index("<h3>Steps</h3>") :].split("</div>")[0]
    assert re.search(r'<th scope="row">pretrain</th><td>\d.*? s</td><td>\d+\.\d</td>', time), time


def test_explaining_a_run_says_why_each_step_ran_or_was_skipped(
    refused: Finished, changed: dict[str, Any], shared_cl: CommandLine
) -> None:
    run = first_run(shared_cl)
    told = shared_cl.run("explain", run["name"])
    assert told.code == 0, told.err
    assert f"Run {run['name']} ({run['id']}) of retrain" in told.out and "Completed" in told.out
    assert why(told, "ingest").startswith("ran")
    assert ": 400 inputs, 400 unique" in why(told, "ingest")
    assert "no earlier run of this flow and model is recorded" in why(told, "pretrain")
    assert "version 1 is not promoted" in why(told, "promote")
    assert "models:/shapes/1" in told.out and "Made from" in told.out

    told = shared_cl.run("explain", changed["id"])
    assert why(told, "ingest").startswith("skipped")
    assert "is up to date (source unchanged)" in why(told, "ingest")
    assert why(told, "pretrain").startswith("ran")
    assert "training.seed 0 to 1" in why(told, "pretrain")


def test_explaining_a_version_shows_its_lineage_both_ways_without_a_prefect_server(
    refused: Finished, changed: dict[str, Any], shared_cl: CommandLine
) -> None:
    shared_cl.run("promote", "shapes", "1")
    alone = CommandLine(shared_cl.home, f"http://127.0.0.1:{free_port()}/api")
    told = alone.run("explain", "shapes@champion")
    assert told.code == 0, told.err
    for step, what in (("ingest", "snapshot"), ("plan", "training"), ("evaluate", "evaluation")):
        assert re.search(rf"  {what} +{digest_of(step, first_run(shared_cl), shared_cl)}", told.out), told.out
    for words in (
        "models:/shapes/1 (champion",
        "source ",
        "synthetic",
        "method simclr",
        f"{first_run(shared_cl)['name']} ({first_run(shared_cl)['id']})",
        "registered as models:/shapes/1",
        "it replaced",
        "last decision",
        "of the same snapshot",
        "shapes/2",
        "version-1-",
    ):
        assert words in told.out, words


def test_a_run_of_another_machine_is_explained_from_what_the_server_remembers(
    refused: Finished, shared_cl: CommandLine, tmp_path: Path
) -> None:
    elsewhere = CommandLine(tmp_path / "home", shared_cl.prefect)
    run = first_run(shared_cl)
    told = elsewhere.run("explain", run["id"])
    assert told.code == 0, told.err
    assert f"Run {run['name']} ({run['id']}) of retrain" in told.out
    assert ": 400 inputs, 400 unique" in why(told, "ingest")
    unknown = elsewhere.run("explain", "nobody")
    assert unknown.code == 2
    assert "there is no flow run with the id or name 'nobody'" in unknown.error


def test_a_version_names_the_code_recipe_and_prefect_run_that_it_comes_from(
    refused: Finished, shared_cl: CommandLine
) -> None:
    with connected(f"sqlite:///{shared_cl.home}/mlflow.db") as client:
        lineage = lineage_from_tags(client.get_model_version("shapes", "1").tags)
    [run] = ask(shared_cl, "flow_runs/filter", {"flow_runs": {"id": {"any_": [lineage.flow_run_id]}}})
    assert (run["parameters"]["recipe"], run["parameters"]["model_name"]) == ("recipe.json", "shapes")
    assert lineage.flow_run_url == f"{shared_cl.prefect.removesuffix('/api')}/runs/flow-run/{lineage.flow_run_id}"
    assert lineage.recipe == "recipe.json"
    assert lineage.code_version == version("counterpoint")
    assert lineage.source_digest == source_digest("cl_core", "tasks", "flows")


def digest_of(step: str, run: dict[str, Any], cl: CommandLine) -> str:
    """Of the result of a step."""
    path = cl.home / "work" / "runs" / f"{run['id']}.jsonl"
    lines = [json.loads(line) for line in path.read_text().split("\n") if line]
    attempt = next(line["attempt"] for line in lines if line["event"] == "began" and line["step"] == step)
    return next(line["result"]["digest"] for line in lines if line["event"] == "result" and line["attempt"] == attempt)


def why(told: Finished, step: str) -> str:
    """Outcome and reason of a step, as the table has them."""
    lines = told.out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{step} "))
    end = next(number for number in range(start + 1, len(lines)) if not lines[number].startswith(" "))
    return " ".join(" ".join(lines[start:end]).split()).removeprefix(f"{step} ")


def accounts(cl: CommandLine) -> list[dict[str, Any]]:
    """The flow runs of a home, oldest first."""
    runs = []
    for path in (cl.home / "work" / "runs").glob("*.jsonl"):
        began = json.loads(path.read_text().split("\n")[1])
        runs.append({"id": path.stem, **began})
    return sorted(runs, key=lambda run: run["at"])


def first_run(cl: CommandLine) -> dict[str, Any]:
    return next(run for run in accounts(cl) if run["flow"] == "retrain")


def last_run(cl: CommandLine) -> dict[str, Any]:
    return accounts(cl)[-1]


def logged(cl: CommandLine, run: str) -> str:
    return "\n".join(line["message"] for line in ask(cl, "logs/filter", of_run(run, "logs")))


def of_run(run: str, what: str) -> dict[str, Any]:
    return {what: {"flow_run_id": {"any_": [run]}}}


def ask(cl: CommandLine, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{cl.prefect}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=ANSWERED_S) as answer:
        return json.load(answer)
