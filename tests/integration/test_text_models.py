"""Texts through the very same flow: retrained, registered, reported, embedded, and called by a stranger's program."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from .conftest import CommandLine, Finished

SOURCE = {"label_column": "topic"}
RECIPE = {
    "model_name": "topics",
    "data": {
        "name": "topics",
        "modality": "text",
        "source": "texts",
        "source_options": SOURCE,
        "modality_options": {"length": 64, "buckets": 2048},
    },
    "training": {
        "views": "word_noise",
        "encoder": "bag",
        "encoder_options": {"features": 32},
        "epochs": 4,
        "batch_size": 64,
        "precision": "fp32",
    },
    "evaluation": {"protocols": ["knn", "geometry"], "options": {"knn": {"ks": [20]}}, "resamples": 200},
    "promotion": {"score": "knn_20.accuracy"},
    "compute": {"threads": 1},
}
TOPICS = {
    "sea": ["river", "lake", "ocean", "wave", "boat", "fish", "shore", "tide", "sand", "island", "storm", "anchor"],
    "car": ["engine", "wheel", "brake", "piston", "clutch", "garage", "tire", "fuel", "pedal", "mirror", "valve"],
}
HOSTILE = ["<script>alert(1)</script> boat", "\u202egarage tire", "море 世界 lake"]
LOAD = """
import numpy
texts = open("query.txt", encoding="utf-8").read().splitlines()
texts = numpy.array([text.encode() for text in texts], "S64").view("u1").reshape(-1, 64)
"""


def texts() -> list[tuple[str, str]]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(400):
        topic = ("sea", "car")[number % 2]
        words = rng.permutation([*rng.choice(TOPICS[topic], 3), *rng.choice(["the", "a", "of", "Über"], 2)])
        made.append((" ".join(words) + ".", topic))
    return [*made, *((text, "sea") for text in HOSTILE)]


@pytest.fixture(scope="module")
def file(shared_cl: CommandLine) -> Path:
    path = shared_cl.home.parent / "topics.jsonl"
    rows = [json.dumps({"text": text, "topic": topic}) for text, topic in texts()]
    rows += ['{"text": "half a pair \\ud800", "topic": "sea"}', '{"text": " ", "topic": "car"}', "{"]
    path.write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def retrained(shared_cl: CommandLine, file: Path) -> Finished:
    finished = shared_cl.run("retrain", recipe={**RECIPE, "data": {**RECIPE["data"], "location": str(file)}})
    assert finished.code == 0, finished.err
    return finished


def test_bad_texts_are_quarantined_and_the_rest_is_scored_beside_tf_idf(
    retrained: Finished, shared_cl: CommandLine
) -> None:
    [quarantine] = shared_cl.home.glob("datasets/topics/*/quarantine.parquet")
    rows = pq.read_table(quarantine).to_pylist()
    assert {row["origin"].split("#")[1]: row["reason"] for row in rows} == {
        "403": "damaged",
        "404": "empty",
        "405": "unreadable",
    }
    assert "into texts of at most 64 bytes" in retrained.err and "tf idf" in retrained.out
    accuracy = re.search(r"knn_20.accuracy +│ +([\d.]+)", retrained.out)
    assert accuracy is not None and float(accuracy[1]) > 0.9, retrained.out


def test_the_report_shows_texts_escaped_and_loads_nothing(retrained: Finished, shared_cl: CommandLine) -> None:
    [page] = shared_cl.home.glob("reports/topics/*.html")
    text = page.read_text()
    assert text.count('<span class="text" dir="auto">') > 50 and "<script>alert" not in text and "\u202e" not in text
    assert not re.search(r'(?:src|href)="http', text)


def test_bytes_alone_are_embedded_as_the_command_does_where_this_project_is_not(
    retrained: Finished, shared_cl: CommandLine, file: Path
) -> None:
    folder = shared_cl.home.parent
    (folder / "query.txt").write_text("\n".join(text for text, _ in texts()), encoding="utf-8")
    printed = [line.strip() for line in retrained.out.splitlines()]
    fetch = printed[printed.index("import mlflow") :][:3]
    assert (
        fetch[2]
        == "embeddings = model.predict(texts)  # uint8 (N, L) of UTF-8 padded with 0 -> float32 (N, D), unit rows"
    )
    shared_cl.stranger(LOAD, *fetch, "numpy.save('fetched.npy', numpy.asarray(embeddings))")
    output = folder / "topics.parquet"
    version = ("--model-name", "topics", "--version", "1")
    embedded = shared_cl.run("embed", str(output), *version, "--data.source", "texts", "--data.location", str(file))
    assert embedded.code == 0, embedded.err
    table = pq.read_table(output)
    rows = dict(zip(table["origin"].to_pylist(), table["embedding"].to_numpy(), strict=True))
    fetched = np.load(folder / "fetched.npy")
    for number in (0, 1, 400, 401, 402):
        np.testing.assert_allclose(fetched[number], rows[f"topics.jsonl#{number}"], atol=1e-6)
    query = folder / "one.txt"
    query.write_text(texts()[7][0] + "\n")
    found = shared_cl.run(
        "--json", "search", str(query), str(output), "--count", "3", "--output", str(folder / "s.html")
    )
    assert found.code == 0, found.err
    assert json.loads(found.out)["hits"][0]["origin"] == "topics.jsonl#7"
