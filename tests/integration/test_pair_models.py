"""Pairs of texts through the very same flow: retrained twice, fetched as a model of single texts, and evaluated."""

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .conftest import CommandLine, Finished

NAME = "phrases"
# No word of a phrase is one of its translation.
WORDS = {
    "dog": "Hund",
    "tree": "Baum",
    "horse": "Pferd",
    "bird": "Vogel",
    "window": "Fenster",
    "key": "Schlüssel",
    "knife": "Messer",
    "city": "Stadt",
    "mountain": "Berg",
    "road": "Straße",
    "child": "Kind",
    "woman": "Frau",
    "mirror": "Spiegel",
    "spoon": "Löffel",
    "flower": "Blume",
    "heart": "Herz",
    "money": "Geld",
    "sugar": "Zucker",
    "table": "Tisch",
    "bread": "Brot",
}
SOURCE = {"text_column": "english", "second_column": "german"}
OPTIONS = {"length": 64, "buckets": 1024}
LOAD = """
import numpy
texts = ["the dog and the tree", "Baum mit Hund"]
texts = numpy.array([text.encode() for text in texts], "S64").view("u1").reshape(-1, 64)
"""


def recipe(pairs: Path, rated: Path, *, seed: int = 0) -> dict[str, Any]:
    return {
        "model_name": NAME,
        "data": {
            "name": NAME,
            "modality": "text_pair",
            "modality_options": OPTIONS,
            "source": "texts",
            "location": str(pairs),
            "source_options": SOURCE,
        },
        "training": {
            "method_options": {"projector_hidden": 0},
            "loss_options": {"temperature": 0.05},
            "views": "both_sides",
            "encoder": "bag",
            "encoder_options": {"features": 32},
            "epochs": 8,
            "batch_size": 64,
            "learning_rate": 0.01,
            "precision": "fp32",
            "seed": seed,
        },
        "evaluation": {
            "protocols": ["pair_retrieval", "similarity"],
            "options": {"similarity": {"pairs": str(rated)}},
            "resamples": 200,
        },
        "promotion": {"score": "pair_retrieval.recall_at_10"},
        "compute": {"threads": 1},
    }


@pytest.fixture(scope="module")
def pairs(shared_cl: CommandLine) -> Path:
    rng, path = random.Random(0), shared_cl.home.parent / "phrases.jsonl"
    rows = []
    for number in range(900):
        words = rng.sample(sorted(WORDS), 3)
        german = " mit ".join(WORDS[word] for word in rng.sample(words, 3))
        rows.append({"english": f"the {' and the '.join(words)}", "german": f"<b>{german}</b> {number}"})
    bad = [{"english": "nothing else"}, {"english": " ", "german": "nichts"}]
    path.write_text("\n".join(map(json.dumps, [*rows, *bad])))
    return path


@pytest.fixture(scope="module")
def rated(shared_cl: CommandLine) -> Path:
    path = shared_cl.home.parent / "rated.csv"
    rows = ["the dog,der Hund,5", "the dog,der Baum,1", "the key and the city,Stadt,4", "bread,Zucker,2", "road,Herz,1"]
    path.write_text("\n".join(["first,second,rating", *rows]))
    return path


@pytest.fixture(scope="module")
def retrained(shared_cl: CommandLine, pairs: Path, rated: Path) -> Finished:
    finished = shared_cl.run("retrain", recipe=recipe(pairs, rated))
    assert finished.code == 0, finished.err
    return finished


def scores(out: str, score: str) -> list[float]:
    [line] = [line for line in out.splitlines() if line.startswith(f"│ {score} ")]
    return [float(value) for value in re.findall(r"│ +(-?[\d.]+) \[", line)]


def test_pairs_find_each_other_better_than_by_their_words_and_both_texts_are_shown(
    retrained: Finished, shared_cl: CommandLine
) -> None:
    trained, untrained, tf_idf = scores(retrained.out, "pair_retrieval.recall_at_10")
    assert trained > 0.7 and max(untrained, tf_idf) < 0.5, retrained.out
    assert len(scores(retrained.out, "similarity.spearman")) == 3
    assert "into text pairs of at most 64 bytes" in retrained.err and "2 quarantined" in retrained.err
    [page] = shared_cl.home.glob(f"reports/{NAME}/*.html")
    text = page.read_text()
    assert text.count("</span><br><span") > 20 and "&lt;b&gt;" in text and f"<b>{WORDS['dog']}" not in text


def test_the_model_takes_single_texts(retrained: Finished, shared_cl: CommandLine) -> None:
    printed = [line.strip() for line in retrained.out.splitlines()]
    fetch = printed[printed.index("import mlflow") :][:3]
    assert "model.predict(texts)  # uint8 (N, L)" in fetch[2]
    shared_cl.stranger(LOAD, *fetch, "numpy.save('pair.npy', numpy.asarray(embeddings))")
    embedded = np.load(shared_cl.home.parent / "pair.npy")
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), [1, 1], atol=1e-5)


def test_sentences_are_embedded_and_searched_by_a_text(
    retrained: Finished, shared_cl: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "lines.txt").write_text("Hund mit Baum\nBrot mit Zucker\nGeld\n")
    output = tmp_path / "lines.parquet"
    source = ("--data.source", "texts", "--data.location", str(tmp_path / "lines.txt"))
    embedded = shared_cl.run("embed", str(output), "--model-name", NAME, "--version", "1", *source)
    assert embedded.code == 0, embedded.err
    page = tmp_path / "found.html"
    found = shared_cl.run(
        "--json", "search", "--text", "the <i>dog</i>", str(output), "--count", "2", "--output", str(page)
    )
    assert found.code == 0, found.err
    assert json.loads(found.out)["hits"][0]["origin"] == "lines.txt#0"
    assert "the &lt;i&gt;dog&lt;/i&gt;" in page.read_text() and "Nearest to a text" in page.read_text()
    for words in (("--text", "a", str(output), str(output)), (str(output),)):
        refused = shared_cl.run("search", *words)
        assert refused.code == 2 and "`cl search --text TEXT EMBEDDINGS`" in refused.err


@pytest.mark.sweep
def test_retrained_with_another_seed_it_is_compared_with_the_champion_on_both_sides(
    retrained: Finished, shared_cl: CommandLine, pairs: Path, rated: Path
) -> None:
    """Options of the vocabulary, which no shape of a model shows, make no other data."""
    again = shared_cl.run("retrain", recipe=recipe(pairs, rated, seed=1))
    assert again.code == 0, again.err
    assert f"evaluated the champion, models:/{NAME}/1, on the same" in again.err
    assert re.search(r"gain in pair_retrieval.recall_at_10 over the champion, version 1, +is", again.out), again.out


def test_a_model_of_texts_is_evaluated_on_pairs(retrained: Finished, shared_cl: CommandLine, pairs: Path) -> None:
    given = [
        *("evaluate-model", "--model-name", NAME, "--version", "1", "--data.name", NAME, "--data.source", "texts"),
        *("--data.location", str(pairs), "--data.source-options", json.dumps(SOURCE)),
        *("--data.modality", "text_pair", "--evaluation.protocols", "pair_retrieval"),
    ]
    refused = shared_cl.run(*given)
    assert refused.code == 2
    assert "data.modality_options.length" in refused.err and "got 256; set it to 64" in " ".join(refused.err.split())
    finished = shared_cl.run(*given, "--data.modality-options", '{"length": 64}')
    assert finished.code == 0, finished.err
    # The same program on the same pairs.
    before, now = (scores(one.out, "pair_retrieval.recall_at_10")[0] for one in (retrained, finished))
    assert now == before
