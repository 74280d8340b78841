"""A finished model in use: many images embedded, one searched for, a version measured anew."""

import json
import os
import re
import shutil
import signal
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cl_core.embedding.embeddings_file import read_facts, write_embeddings_file
from cl_core.embedding.search import nearest_rows
from cl_core.errors import InputError
from cl_core.hashing import source_digest
from cl_core.registry import SOURCES
from tasks.adapters.mlflow.connection import connected
from tasks.adapters.mlflow.model_version import lineage_from_tags
from tasks.embedding import search_embeddings

from .conftest import CommandLine

DATA = {"name": "shapes", "source": "synthetic", "source_options": {"count": 600, "size": 16}, "image_size": 16}
SPECS = {
    "model_name": "shapes",
    "data": DATA,
    "training": {"encoder": "mlp", "epochs": 1, "warmup_epochs": 0.1, "batch_size": 64, "precision": "fp32"},
    "evaluation": {"protocols": ["knn"], "resamples": 100},
    "compute": {"threads": 1},
}


@pytest.fixture(scope="module")
def champion(shared_cl: CommandLine) -> CommandLine:
    """A home with a registered version, which is the champion."""
    registered = shared_cl.run("register", recipe=SPECS)
    assert registered.code == 0, registered.err
    assert shared_cl.run("promote", "shapes", "1").code == 0
    return shared_cl


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight thousand images, in folders by class, and one file that is none."""
    root = tmp_path_factory.mktemp("images")
    source = SOURCES.build("synthetic", {"count": 8_000, "size": 16, "seed": 9}, field="")
    for number, sample in enumerate(source.samples("")):
        (root / str(sample.label)).mkdir(exist_ok=True)
        (root / str(sample.label) / f"{number}.png").write_bytes(sample.payload)
    (root / "disc" / "broken.png").write_text("no image")
    return root


@pytest.fixture(scope="module")
def embedded(champion: CommandLine, folder: Path) -> Path:
    """The folder embedded by a command that is killed half-way and run again."""
    output = champion.home.parent / "killed.parquet"
    arguments = ("embed", str(output), "--model-name", "shapes", "--data.location", str(folder))
    with champion.start(*arguments) as run:
        deadline = time.monotonic() + 120
        while len(list(output.parent.glob("killed.parquet.parts/*/part-*"))) < 3:
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.001)
        os.killpg(run.pid, signal.SIGKILL)
    assert not output.exists()
    resumed = champion.run(*arguments)
    assert resumed.code == 0, resumed.err
    assert resumed.out == f"{output}\n"
    kept = re.search(r"8,000 images embedded by models:/shapes/1, ([\d,]+) of them by an earlier run", resumed.err)
    assert kept is not None and int(kept[1].replace(",", "")) >= 3 * 1024 - 1
    assert f"1 inputs are in {output.with_name('killed.quarantine.parquet')}" in resumed.err
    return output


def test_a_version_tells_which_code_recipe_and_run_of_prefect_it_comes_from(champion: CommandLine) -> None:
    with connected(f"sqlite:///{champion.home}/mlflow.db") as client:
        lineage = lineage_from_tags(client.get_model_version("shapes", "1").tags)
    [run] = ask(champion, "flow_runs/filter", {"flow_runs": {"id": {"any_": [lineage.flow_run_id]}}})
    assert run["tags"] == ["recipe:recipe.json"] and run["parameters"]["model_name"] == "shapes"
    assert lineage.flow_run_url == f"{champion.prefect.removesuffix('/api')}/runs/flow-run/{lineage.flow_run_id}"
    assert lineage.recipe == "recipe.json"
    assert lineage.code_version == version("counterpoint")
    assert lineage.source_digest == source_digest("cl_core", "tasks", "flows")


def test_a_killed_command_goes_on_and_ends_with_the_bytes_of_an_undisturbed_one(
    embedded: Path, champion: CommandLine, folder: Path
) -> None:
    output = embedded.with_name("undisturbed.parquet")
    finished = champion.run("embed", str(output), "--model-name", "shapes", "--data.location", str(folder))
    assert finished.code == 0, finished.err
    assert "by an earlier run" not in finished.err
    assert output.read_bytes() == embedded.read_bytes()


def test_progress_is_an_artifact_of_the_run(embedded: Path, champion: CommandLine) -> None:
    found = ask(champion, "artifacts/filter", {"artifacts": {"key": {"any_": ["embedding-progress"]}}})
    assert 100.0 in [one["data"] for one in found]
    assert any(str(one["description"]).startswith("8,001 of 8,001 inputs") for one in found)


def test_the_snapshot_that_was_trained_on_is_embedded_with_its_splits(champion: CommandLine) -> None:
    (snapshot,) = (path.parent for path in (champion.home / "datasets" / "shapes").glob("*/manifest.json"))
    output = champion.home.parent / "snapshot.parquet"
    source = ("--data.source", "snapshot", "--data.location", str(snapshot))
    finished = champion.run("embed", str(output), "--model-name", "shapes", "--version", "1", *source)
    assert finished.code == 0, finished.err
    rows = json.loads((snapshot / "manifest.json").read_text())["rows"]
    splits = pq.read_table(output)["split"].to_pylist()
    assert {split: splits.count(split) for split in rows} == rows


def test_a_search_finds_the_image_itself_first_and_writes_a_page(embedded: Path, champion: CommandLine) -> None:
    facts = read_facts(embedded)
    image = Path(facts.data.location) / "ring" / "5.png"
    page = champion.home.parent / "found.html"
    arguments = ("search", str(image), str(embedded), "--output", str(page), "--count", "9")
    finished = champion.run(*arguments)
    assert finished.code == 0, finished.err
    assert finished.out.endswith(f"{page}\n")
    ranks = re.findall(r"│ +(\d+) │ +([\d.]+) │ (\w+) +│ - +│ (\S+)", finished.out)
    assert ranks[0][1:] == ("1.000", "ring", "ring/5.png")
    table = pq.read_table(embedded)
    row = table["origin"].to_pylist().index("ring/5.png")
    query = np.array(table["embedding"][row].as_py(), np.float32)
    assert [origin for *_, origin in ranks] == [hit.row.origin for hit in nearest_rows(query, embedded, count=9)]
    assert page.read_text().count('src="data:image/png;base64,') == 10


@pytest.mark.parametrize("field", ["output", "data.location"])
def test_where_paths_are_confined_neither_side_of_an_embedding_leads_out(
    champion: CommandLine, folder: Path, tmp_path: Path, field: str
) -> None:
    snapshot = next((champion.home / "datasets" / "shapes").glob("[0-9a-f]" * 64))
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    inside.mkdir()
    shutil.copytree(snapshot, outside / "snapshot")
    places = {
        "output": (outside / "out.parquet", snapshot),
        "data.location": (inside / "out.parquet", outside / "snapshot"),
    }
    output, location = places[field]
    source = ("--data.source", "snapshot", "--data.location", str(location))
    refused = champion.run("embed", str(output), "--model-name", "shapes", *source, CL_DATA_ROOTS=str(inside))
    assert refused.code == 2, refused.err
    assert f"{field}: " in refused.error and "the setting CL_DATA_ROOTS" in refused.err
    assert not output.exists()


def test_a_search_with_a_version_of_another_training_is_refused(
    embedded: Path, champion: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = embedded.with_name("other.parquet")
    facts = read_facts(embedded).model_copy(update={"training_digest": "0" * 64})
    write_embeddings_file(other, [pq.read_table(embedded).slice(0, 5)], facts)
    monkeypatch.setenv("CL_HOME", str(champion.home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    image = Path(facts.data.location) / "ring" / "9.png"
    with pytest.raises(InputError, match="of training 000000000000, but here models:/shapes/1 is of training"):
        search_embeddings(image, other, count=3, page=embedded.with_name("never.html"))
    assert not embedded.with_name("never.html").exists()


def test_a_version_measured_on_the_data_it_was_trained_on_has_the_scores_it_was_registered_with(
    champion: CommandLine,
) -> None:
    specs = {name: SPECS[name] for name in ("model_name", "data", "evaluation", "compute")}
    finished = champion.run("evaluate-model", "--version", "1", recipe=specs)
    assert finished.code == 0, finished.err
    [registered] = re.findall(r"│ 1 +│ [^│]*│ - +│ ([\d.]+) +│", champion.run("models", "shapes").out)
    [(trained, raw_pixels)] = re.findall(r"knn_20.accuracy +│ +([\d.]+) \[[^│]*│ +([\d.]+) \[", finished.out)
    assert float(trained) == pytest.approx(float(registered), abs=5e-4)
    assert "evaluated knn on models:/shapes/1 and raw pixels" in finished.err
    tables = ask(champion, "artifacts/filter", {"artifacts": {"key": {"any_": ["scores"]}}})
    rows = [row for one in tables for row in json.loads(str(one["data"])) if row["score"] == "knn_20.accuracy"]
    assert any(row["raw pixels"].startswith(raw_pixels) and row["trained"].startswith(trained) for row in rows)


def ask(cl: CommandLine, path: str, body: dict[str, object]) -> "list[dict[str, object]]":
    request = urllib.request.Request(
        f"{cl.prefect}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
