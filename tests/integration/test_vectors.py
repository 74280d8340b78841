"""Rows of a table through the very same flow: retrained, registered, reported, embedded and searched."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from .conftest import CommandLine, Finished

SOURCE = {"label_column": "state", "categories": {"site": ["north", "south"]}}
RECIPE = {
    "model_name": "machines",
    "data": {"name": "machines", "modality": "vector", "source": "table", "source_options": SOURCE},
    "training": {
        "views": "scarf",
        "encoder": "mlp",
        "encoder_options": {"hidden": 64, "features": 16},
        "epochs": 4,
        "batch_size": 64,
        "precision": "fp32",
    },
    "evaluation": {"protocols": ["knn", "geometry"], "options": {"knn": {"ks": [20]}}, "resamples": 200},
    "promotion": {"score": "knn_20.accuracy"},
    "compute": {"threads": 1},
}
STATES = ("busy", "idle", "worn")


def table(rows: int) -> pd.DataFrame:
    """Readings of machines, some of them missing, with a site and a state."""
    rng = np.random.default_rng(0)
    state = rng.integers(0, 3, rows)
    readings = rng.normal(size=(rows, 5)) + 2 * np.eye(3, 5)[state]
    frame = pd.DataFrame(readings, columns=[f"sensor_{number}" for number in range(5)])
    frame.loc[rng.random(rows) < 0.1, "sensor_4"] = None
    frame["site"] = rng.choice(["north", "south"], rows)
    frame["state"] = np.array(STATES)[state]
    return frame


@pytest.fixture(scope="module")
def file(shared_cl: CommandLine) -> Path:
    path = shared_cl.home.parent / "machines.csv"
    frame = table(600)
    # Rows that cannot be used: one without any value, one with an infinite one.
    frame.loc[600] = [None] * 6 + ["idle"]
    frame.loc[601] = [np.inf, 0, 0, 0, 0, "north", "idle"]
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def retrained(shared_cl: CommandLine, file: Path) -> Finished:
    recipe = {**RECIPE, "data": {**RECIPE["data"], "location": str(file)}}
    finished = shared_cl.run("retrain", recipe=recipe)
    assert finished.code == 0, finished.err
    return finished


def test_bad_rows_are_quarantined_with_their_reasons_and_the_rest_is_trained_on(
    retrained: Finished, shared_cl: CommandLine
) -> None:
    [quarantine] = shared_cl.home.glob("datasets/machines/*/quarantine.parquet")
    rows = pq.read_table(quarantine).to_pylist()
    assert {(row["origin"], row["reason"]) for row in rows} == {
        ("machines.csv#600", "no_values"),
        ("machines.csv#601", "infinite"),
    }
    assert "decoded 600 vectors into vectors of 7 values" in retrained.err
    manifest = json.loads((quarantine.parent / "manifest.json").read_text())
    assert manifest["modality"] == "vector" and manifest["columns"][-2:] == ["site=north", "site=south"]


def test_it_is_scored_beside_its_standardized_values_and_fetched_as_what_it_is(
    retrained: Finished,
) -> None:
    assert re.search(r"standardized values", retrained.out)
    accuracy = re.search(r"knn_20.accuracy +│ +([\d.]+)", retrained.out)
    assert accuracy is not None and float(accuracy[1]) > 0.7, retrained.out
    assert "model.predict(vectors)  # float32 (N, values) -> float32 (N, D), unit rows" in retrained.out


def test_the_report_shows_vectors_as_lines_and_loads_nothing(retrained: Finished, shared_cl: CommandLine) -> None:
    [page] = shared_cl.home.glob("reports/machines/*.html")
    text = page.read_text()
    assert text.count('<svg class="line"') > 50 and "<h3>Test vectors</h3>" in text
    assert "sensor_0, sensor_1" in text and not re.search(r'(?:src|href)="http', text)


def test_a_table_is_embedded_and_searched_by_one_row(retrained: Finished, shared_cl: CommandLine, file: Path) -> None:
    output = shared_cl.home.parent / "machines.parquet"
    options = ("--data.source", "table", "--data.location", str(file), "--data.source-options", json.dumps(SOURCE))
    version = ("--model-name", "machines", "--version", "1")
    embedded = shared_cl.run("embed", str(output), *version, *options)
    assert embedded.code == 0, embedded.err
    vectors = pq.read_table(output)
    assert vectors.num_rows == 600 and pq.read_table(output.with_name("machines.quarantine.parquet")).num_rows == 2
    np.testing.assert_allclose(np.linalg.norm(np.stack(vectors["embedding"].to_numpy()), axis=1), 1, atol=1e-5)
    row = table(600).iloc[3]
    readings = ["" if pd.isna(value) else repr(float(value)) for value in row.iloc[:5]]
    query = shared_cl.home.parent / "query.csv"
    query.write_text(
        ",".join([*readings, *("1" if row["site"] == site else "0" for site in ("north", "south"))]) + "\n"
    )
    page = shared_cl.home.parent / "search.html"
    found = shared_cl.run("--json", "search", str(query), str(output), "--count", "5", "--output", str(page))
    assert found.code == 0, found.err
    nearest = json.loads(found.out)["hits"][0]
    assert nearest["origin"] == "machines.csv#3" and nearest["cosine"] > 0.9999
    assert page.read_text().count('<svg class="line"') == 6


def test_a_champion_of_vectors_is_not_retrained_on_images(retrained: Finished, shared_cl: CommandLine) -> None:
    images = ("--data.name", "machines", "--data.source", "synthetic", "--data.modality", "image")
    refused = shared_cl.run("retrain", "--model-name", "machines", *images)
    assert refused.code == 2
    assert "(models:/machines/1 on 'machines', vectors of 7 values) than this run asks for ('machines', images" in (
        refused.error
    )
