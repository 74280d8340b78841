"""A finished model in use: many images embedded, one searched for, a version measured anew."""

import json
import os
import re
import shutil
import signal
import urllib.request
from pathlib import Path

import forked
import numpy as np
import pyarrow.parquet as pq
import pytest
from servers import ANSWERED_S

from cl_core.embedding.embeddings_file import read_metadata, write_embeddings_file
from cl_core.embedding.search import nearest_rows
from cl_core.errors import InputError
from cl_core.registry import SOURCES
from tasks.adapters.mlflow.connection import connected
from tasks.adapters.mlflow.model_version import SNAPSHOT_DIGEST
from tasks.embedding import search_embeddings

from .conftest import CommandLine
from .golden import NAMED
from .retraining_programs import embed_and_die

IMAGES = 4_000


@pytest.fixture(scope="module")
def champion(golden_cl: CommandLine) -> CommandLine:
    """A home in which version 2 is the champion."""
    return golden_cl


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of four parts, in folders by class, and one file that is none."""
    root = tmp_path_factory.mktemp("images")
    source = SOURCES.build("synthetic", {"count": IMAGES, "size": 16, "seed": 9}, field="")
    for number, sample in enumerate(source.samples("")):
        (root / str(sample.label)).mkdir(exist_ok=True)
        (root / str(sample.label) / f"{number}.png").write_bytes(sample.payload)
    (root / "disc" / "broken.png").write_text("no image")
    return root


@pytest.fixture(scope="module")
def embedded(champion: CommandLine, folder: Path) -> Path:
    """The folder embedded by a command that is killed when three parts of four are written, and run again."""
    output = champion.home.parent / "killed.parquet"
    arguments = ("embed", str(output), "--model-name", "shapes", "--data.location", str(folder))
    environment = {**os.environ, "CL_HOME": str(champion.home), "PREFECT_API_URL": champion.prefect}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with forked.Program(embed_and_die, arguments, 3, environment=environment) as run:
        assert run.wait(timeout=120) == -signal.SIGKILL, run.communicate()
    assert len(list(output.parent.glob("killed.parquet.parts/*/part-*"))) == 3
    assert not output.exists()
    resumed = champion.run(*arguments)
    assert resumed.code == 0, resumed.err
    assert resumed.out == f"{output}\n"
    kept = re.search(r"embedded 4,000 images into .*, ([\d,]+) of them in an earlier run", resumed.err)
    assert kept is not None and int(kept[1].replace(",", "")) in (3 * 1024, 3 * 1024 - 1)
    assert (
        f"1 inputs that could not be decoded are listed in {output.with_name('killed.quarantine.parquet')}"
        in resumed.err
    )
    return output


def test_a_killed_command_resumes_and_ends_with_the_bytes_of_an_uninterrupted_one(
    embedded: Path, champion: CommandLine, folder: Path
) -> None:
    output = embedded.with_name("undisturbed.parquet")
    finished = champion.run("embed", str(output), "--model-name", "shapes", "--data.location", str(folder))
    assert finished.code == 0, finished.err
    assert "in an earlier run" not in finished.err
    assert output.read_bytes() == embedded.read_bytes()


def test_progress_is_an_artifact_of_the_run(embedded: Path, champion: CommandLine) -> None:
    found = ask(champion, "artifacts/filter", {"artifacts": {"key": {"any_": ["embedding-progress"]}}})
    assert 100.0 in [one["data"] for one in found]
    assert any(str(one["description"]).startswith("4,001 of 4,001 inputs") for one in found)


def test_the_snapshot_that_was_trained_on_is_embedded_with_its_splits(champion: CommandLine) -> None:
    snapshot = snapshot_of(champion, 1)
    output = champion.home.parent / "snapshot.parquet"
    source = ("--data.source", "snapshot", "--data.location", str(snapshot))
    finished = champion.run("embed", str(output), "--model-name", "shapes", "--version", "1", *source)
    assert finished.code == 0, finished.err
    rows = json.loads((snapshot / "manifest.json").read_text())["rows"]
    splits = pq.read_table(output)["split"].to_pylist()
    assert {split: splits.count(split) for split in rows} == rows


def test_a_search_finds_the_image_itself_first_and_writes_a_page(embedded: Path, champion: CommandLine) -> None:
    facts = read_metadata(embedded)
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
    snapshot = snapshot_of(champion, 1)
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
    facts = read_metadata(embedded).model_copy(update={"training_digest": "0" * 64})
    write_embeddings_file(other, [pq.read_table(embedded).slice(0, 5)], facts)
    monkeypatch.setenv("CL_HOME", str(champion.home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    image = Path(facts.data.location) / "ring" / "9.png"
    with pytest.raises(InputError, match="of training 000000000000, but here models:/shapes/2 is of training"):
        search_embeddings(image, other, count=3, page=embedded.with_name("never.html"))
    assert not embedded.with_name("never.html").exists()


def test_a_version_measured_on_the_data_it_was_trained_on_has_the_scores_it_was_registered_with(
    champion: CommandLine,
) -> None:
    specs = {name: NAMED[name] for name in ("model_name", "data", "compute")}
    specs["evaluation"] = {**NAMED["evaluation"], "protocols": ["knn"]}
    finished = champion.run("evaluate-model", "--version", "1", recipe=specs)
    assert finished.code == 0, finished.err
    [registered] = re.findall(r"│ 1 +│ [^│]*│ - +│ ([\d.]+) +│", champion.run("models", "shapes").out)
    [(trained, raw_pixels)] = re.findall(r"knn_20.accuracy +│ +([\d.]+) \[[^│]*│ +([\d.]+) \[", finished.out)
    assert float(trained) == pytest.approx(float(registered), abs=5e-4)
    assert "evaluated knn on models:/shapes/1 and raw pixels" in finished.err
    tables = ask(champion, "artifacts/filter", {"artifacts": {"key": {"any_": ["scores"]}}})
    rows = [row for one in tables for row in json.loads(str(one["data"])) if row["score"] == "knn_20.accuracy"]
    assert any(row["raw pixels"].startswith(raw_pixels) and row["trained"].startswith(trained) for row in rows)


def snapshot_of(cl: CommandLine, version: int) -> Path:
    """The snapshot that a version was trained on."""
    with connected(f"sqlite:///{cl.home}/mlflow.db") as client:
        digest = client.get_model_version("shapes", str(version)).tags[SNAPSHOT_DIGEST]
    return cl.home / "datasets" / "shapes" / digest


def ask(cl: CommandLine, path: str, body: dict[str, object]) -> "list[dict[str, object]]":
    request = urllib.request.Request(
        f"{cl.prefect}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=ANSWERED_S) as answer:
        return json.load(answer)
