"""From a Parquet file to a registered champion, again without a change, and again with one."""

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from clothes import CLOTHES
from servers import ANSWERED_S

from .conftest import CommandLine, Finished


@pytest.fixture(scope="module")
def shared_cl(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> CommandLine:
    """A home in which there is nothing at all."""
    return CommandLine(tmp_path_factory.mktemp("new") / "home", prefect_server)


# Labels teach in three epochs what views alone teach in eight.
RECIPE = {
    **CLOTHES,
    "training": {**CLOTHES["training"], "method": "supcon", "method_options": {}, "epochs": 3},
}


@pytest.fixture(scope="module")
def first(shared_cl: CommandLine) -> Finished:
    # As a person's shell does: the installed program.
    finished = shared_cl.run("retrain", recipe=RECIPE, under=["env"])
    assert finished.code == 0, finished.err
    return finished


def test_the_first_run_ends_with_a_champion_its_scores_and_how_to_fetch_it(
    first: Finished, shared_cl: CommandLine
) -> None:
    assert "models:/clothes/1" in first.out
    assert len(list((shared_cl.home / "mlflow-artifacts").rglob("weights.safetensors"))) >= 1
    assert 'mlflow.pyfunc.load_model("models:/clothes@champion")' in first.out
    assert scores(first, "linear_probe.accuracy")[2] == pytest.approx(0.83, abs=0.02), "raw pixels, 2,000 labels"
    trained, untrained, raw = scores(first, "knn_200.accuracy")
    assert trained > max(untrained, raw)
    assert "is promoted" in first.out


@pytest.mark.sweep
def test_the_printed_lines_fetch_the_model_where_counterpoint_is_not_installed(
    first: Finished, shared_cl: CommandLine
) -> None:
    lines = [line.strip() for line in first.out.splitlines() if line.startswith("    ")][-3:]
    uri = re.search(r"MLFLOW_TRACKING_URI=(\S+?)\)", first.out)
    assert uri is not None
    program = "\n".join(
        [
            "import sys, numpy as np",
            "sys.modules['cl_core'] = None  # Importing it is an error.",
            "images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), dtype=np.uint8)",
            *lines,
            "assert embeddings.shape[0] == 5, embeddings.shape",
            "assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)",
        ]
    )
    environment = {"MLFLOW_TRACKING_URI": uri.group(1), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_report_is_where_the_command_says(first: Finished, shared_cl: CommandLine) -> None:
    page = re.search(r"Report\s+(\S+)", first.out)
    assert page is not None
    html = Path(page.group(1)).read_text()
    assert "Ankle boot" in html
    assert "clothes" in html
    assert 'src="http' not in html


def test_the_prefect_server_shows_steps_and_artifacts(first: Finished, shared_cl: CommandLine) -> None:
    (account,) = (shared_cl.home / "work" / "runs").glob("*.jsonl")
    runs = ask(shared_cl, "task_runs/filter", {"flow_runs": {"id": {"any_": [account.stem]}}})
    names = {run["name"].rsplit("-", 1)[0] for run in runs}
    assert {"preflight", "ingest", "validate", "plan", "pretrain", "evaluate", "register", "promote", "report"} <= names
    assert {run["state_type"] for run in runs} == {"COMPLETED"}
    mine = {"flow_run_id": {"any_": [account.stem]}}
    kinds = {artifact["key"]: artifact["type"] for artifact in ask(shared_cl, "artifacts/filter", {"artifacts": mine})}
    kinds.pop(None, None)  # Results of tasks.
    assert kinds == {
        "data-profile": "markdown",
        "training-progress": "progress",
        "decision": "markdown",
        "retrain-report": "markdown",
        "scores": "table",
        "links": "markdown",
        "time-accounting": "table",
    }
    progress = ask(shared_cl, "artifacts/filter", {"artifacts": {**mine, "type": {"any_": ["progress"]}}})
    assert progress[0]["data"] == 100


def test_an_unchanged_run_does_nothing_and_says_why(first: Finished, shared_cl: CommandLine) -> None:
    before = stands(shared_cl.home)
    again = shared_cl.run("retrain", recipe=RECIPE)
    assert again.code == 0, again.err
    for sentence in (
        "is up to date (source unchanged)",
        "is up to date (data, spec and code unchanged); skipped",
        "is up to date (checkpoint, snapshot, protocols and code unchanged); skipped",
        "models:/clothes/1 is up to date",
        "version 1 is the champion already",
    ):
        assert sentence in again.err
    assert stands(shared_cl.home) == before


def test_recipes_are_compared_in_a_table_beside_the_baselines(first: Finished, shared_cl: CommandLine) -> None:
    recipe, table = shared_cl.home.parent / "clothes.json", shared_cl.home.parent / "table.md"
    recipe.write_text(json.dumps(RECIPE))
    finished = shared_cl.run("compare", str(recipe), "--table", str(table))
    assert finished.code == 0, finished.err
    assert table.read_text() == finished.out
    head, _, trained, *baselines = (line.strip("| ").split(" | ") for line in finished.out.splitlines())
    assert head[:3] == ["recipe", "linear probe", "20 neighbors"]
    assert trained[0] == "`clothes`" and {line[0] for line in baselines} == {
        "the same encoder, untrained",
        "raw pixels",
    }
    assert trained[1].startswith(f"{scores(first, 'linear_probe.accuracy')[0]:.3f} [")
    assert float(trained[5]) > 0 and 0.2 < float(trained[6]) < 4, "minutes and GiB"
    assert "is up to date (data, spec and code unchanged); skipped" in finished.err


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"training": {"epochz": 1}}', "epochz"),
        ('{"trainings": {}}', "does not accept"),
        ("[1]", "must hold a JSON object"),
        ("{", "is not readable as JSON"),
    ],
)
def test_a_wrong_recipe_is_refused_before_any_is_trained(
    shared_cl: CommandLine, tmp_path: Path, content: str, sentence: str
) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(content)
    finished = shared_cl.run("compare", str(wrong))
    assert finished.code == 2, finished.err
    assert str(wrong) in finished.err and sentence in finished.err


def test_a_worse_challenger_is_registered_and_not_promoted(first: Finished, shared_cl: CommandLine) -> None:
    worse = {**RECIPE, "training": {**RECIPE["training"], "epochs": 1, "warmup_epochs": 0.1, "learning_rate": 1e-6}}
    finished = shared_cl.run("retrain", recipe=worse)
    assert finished.code == 0, finished.err
    assert "models:/clothes/2" in finished.out
    assert "version 2 is not promoted" in finished.out.replace("\n", " ")
    listed = shared_cl.run("models", "clothes")
    assert re.search(r"│ 1 +│ champion ", listed.out), listed.out
    assert re.search(r"│ 2 +│ challenger ", listed.out), listed.out

    by_hand = shared_cl.run("promote", "clothes", "2", "--reason", "to see it go wrong")
    assert "version 2 is promoted by hand: to see it go wrong" in by_hand.err
    back = shared_cl.run("rollback", "clothes", "--reason", "it went wrong")
    assert "version 1 is the champion again: it went wrong" in back.err
    unknown = shared_cl.run("promote", "clothes", "9")
    assert unknown.code == 2
    assert "9" in unknown.error


def test_images_without_labels_get_the_label_free_part(cl: CommandLine) -> None:
    recipe = {
        **CLOTHES,
        "model_name": "shapes",
        "data": {"name": "shapes", "source": "synthetic", "source_options": {"count": 400, "labelled": False}},
        "training": {**CLOTHES["training"], "epochs": 1, "warmup_epochs": 0.1},
    }
    finished = cl.run("retrain", recipe=recipe)
    assert finished.code == 0, finished.err
    assert "geometry.uniformity" in finished.out
    assert "linear_probe.accuracy" not in finished.out.split("Model")[0].replace("left out: linear_probe", "")
    assert "left out: linear_probe: the data have no labels" in finished.out


def test_the_server_really_creates_scheduled_runs(prefect_server: str, cl: CommandLine) -> None:
    flow = ask(cl, "flows/", {"name": "nightly-test"})
    schedule = {"active": True, "schedule": {"interval": 3600}}
    deployment = ask(cl, "deployments/", {"name": "hourly", "flow_id": flow["id"], "schedules": [schedule]})
    import time

    deadline = time.monotonic() + 60
    scheduled = []
    while not scheduled and time.monotonic() < deadline:
        time.sleep(1)
        scheduled = ask(cl, "flow_runs/filter", {"deployments": {"id": {"any_": [deployment["id"]]}}})
    assert scheduled
    assert {run["state_type"] for run in scheduled} == {"SCHEDULED"}
    assert all(run["auto_scheduled"] for run in scheduled)


def scores(finished: Finished, name: str) -> list[float]:
    row = next(line for line in finished.out.splitlines() if name in line)
    return [float(value) for value in re.findall(r"(-?\d+\.\d+) \[", row)]


def stands(home: Path) -> set[str]:
    """Everything that the steps keep, with its time of change."""
    kept = ("datasets", "caches", "trainings", "evaluations", "embeddings", "reports")
    files = [path for folder in kept for path in (home / folder).rglob("*") if path.is_file() and path.name != "lock"]
    return {f"{path} {path.stat().st_mtime_ns}" for path in files}


def ask(cl: CommandLine, path: str, body: dict[str, object]) -> "list[dict[str, object]] | dict[str, object]":
    request = urllib.request.Request(
        f"{cl.prefect}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=ANSWERED_S) as answer:
        return json.load(answer)
