"""Images with captions through the same flow: retrained, fetched as two programs, searched by words, classified."""

import csv
import io
import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image, ImageDraw

from .conftest import CommandLine, Finished

NAME = "shapes"
COLORS = {"red": (200, 30, 30), "green": (30, 170, 40), "blue": (40, 60, 210), "yellow": (220, 210, 30)}
SHAPES = ("circle", "square", "cross")
LENGTH, SIZE = 32, 16


def picture(color: str, shape: str, rng: random.Random) -> bytes:
    image = Image.new("RGB", (SIZE, SIZE), tuple(rng.randint(225, 255) for _ in range(3)))
    draw, left, top, side = ImageDraw.Draw(image), rng.randint(1, 5), rng.randint(1, 5), rng.randint(8, 10)
    fill = tuple(min(255, value + rng.randint(0, 25)) for value in COLORS[color])
    box = (left, top, left + side, top + side)
    if shape == "cross":
        middle = (left + side // 2, top + side // 2)
        draw.rectangle((middle[0] - 1, top, middle[0] + 1, top + side), fill=fill)
        draw.rectangle((left, middle[1] - 1, left + side, middle[1] + 1), fill=fill)
    else:
        (draw.ellipse if shape == "circle" else draw.rectangle)(box, fill=fill)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def captioned(shared_cl: CommandLine) -> Path:
    """Shapes with a caption each, in folders by color; two files lack the other one."""
    rng, folder = random.Random(0), shared_cl.home.parent / "captioned"
    for number in range(480):
        color, shape = rng.choice(sorted(COLORS)), rng.choice(SHAPES)
        words = [color, shape] if number % 2 else [shape, "that", "is", color]
        path = folder / color / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(color, shape, rng))
        path.with_suffix(".txt").write_text(f"a {' '.join(words)} <b>{number}</b>")
    (folder / "alone.png").write_bytes(picture("red", "cross", rng))
    (folder / "lonely.txt").write_text("nothing to see")
    return folder


def recipe(captioned: Path, *, seed: int = 0) -> dict[str, Any]:
    return {
        "model_name": NAME,
        "data": {
            "name": NAME,
            "modality": "image_text",
            "modality_options": {"size": SIZE, "length": LENGTH, "buckets": 256},
            "source": "captioned_folder",
            "location": str(captioned),
            "test_share": 0.2,
        },
        "training": {
            "method": "clip",
            "encoder": "two_towers",
            "encoder_options": {
                "image": {"name": "resnet_small", "options": {"stem_width": 16, "width": 16, "stages": 2}},
                "text": {"name": "bag", "options": {"features": 32}},
                "width": 32,
            },
            "epochs": 10,
            "batch_size": 64,
            "learning_rate": 0.005,
            "precision": "fp32",
            "seed": seed,
        },
        "evaluation": {
            "protocols": ["pair_retrieval", "zero_shot", "knn", "geometry"],
            "options": {
                "zero_shot": {"names": {"red": "something red"}, "templates": ["{}", "a {} circle", "a {} square"]}
            },
            "resamples": 200,
        },
        "promotion": {"score": "zero_shot.accuracy"},
        "compute": {"threads": 1},
    }


@pytest.fixture(scope="module")
def retrained(shared_cl: CommandLine, captioned: Path) -> Finished:
    finished = shared_cl.run("retrain", recipe=recipe(captioned))
    assert finished.code == 0, finished.err
    return finished


def scores(out: str, score: str) -> list[float]:
    [line] = [line for line in out.splitlines() if line.startswith(f"│ {score} ")]
    return [float(value) for value in re.findall(r"│ +(-?[\d.]+) \[", line)]


def test_words_and_pictures_find_each_other_and_what_lacks_one_is_counted(
    retrained: Finished, shared_cl: CommandLine
) -> None:
    trained, untrained = scores(retrained.out, "zero_shot.accuracy")
    assert trained > 0.8 and untrained < 0.7, retrained.out
    recall, before = scores(retrained.out, "pair_retrieval.recall_at_10")
    assert recall > 0.6 > before, retrained.out
    assert "2 quarantined" in retrained.err and "near-duplicates" not in retrained.err.split("plan")[-1]
    assert f"version 1 is promoted: zero_shot.accuracy is {trained:.3f}" in " ".join(retrained.out.split()), (
        retrained.out
    )
    [page] = shared_cl.home.glob(f"reports/{NAME}/*.html")
    assert page.read_text().count("&lt;b&gt;") > 10 and "<b>1</b>" not in page.read_text()


def test_the_page_in_mlflow_shows_how_to_call_both_programs(retrained: Finished, shared_cl: CommandLine) -> None:
    client = MlflowClient(f"sqlite:///{shared_cl.home}/mlflow.db")
    version = client.get_model_version(NAME, "1")
    card = version.description
    assert f'mlflow.artifacts.download_artifacts("models:/{NAME}@champion/text.pt2")' in card
    assert "it turns images and texts into embeddings" in card and "Encoder of images and texts trained" in card
    assert (
        f"uint8 images (N, {SIZE}, {SIZE}, 3)" in card and f", or uint8 texts (N, {LENGTH}), texts of at most" in card
    )
    # The scale that was learned, within the bounds of the loss.
    assert 1 <= float(version.tags["counterpoint.scale"]) <= 100


LOAD = f"""
import numpy, sys
from PIL import Image
images = numpy.stack([numpy.asarray(Image.open(file).convert("RGB")) for file in sys.argv[1:]])
texts = ["a red thing", "that is blue"]
texts = numpy.array([text.encode() for text in texts], "S{LENGTH}").view("u1").reshape(-1, {LENGTH})
"""


def test_both_programs_are_fetched_from_one_version_without_this_project(
    retrained: Finished, shared_cl: CommandLine, captioned: Path
) -> None:
    printed = [line.strip() for line in retrained.out.splitlines()]
    fetch = printed[printed.index("import mlflow, torch") :][:5]
    assert f"models:/{NAME}@champion/text.pt2" in fetch[3]
    files = [str(sorted((captioned / color).glob("*.png"))[0]) for color in ("red", "blue")]
    ending = "numpy.save('both.npy', numpy.stack([numpy.asarray(embeddings), text_embeddings.detach().numpy()]))"
    shared_cl.stranger(LOAD, *fetch, ending, arguments=files)
    images, texts = np.load(shared_cl.home.parent / "both.npy")
    np.testing.assert_allclose(np.linalg.norm([images, texts], axis=2), 1, atol=1e-5)
    assert (images @ texts.T).argmax(axis=1).tolist() == [0, 1]


def test_pictures_are_found_by_words(
    retrained: Finished, shared_cl: CommandLine, captioned: Path, tmp_path: Path
) -> None:
    output, page = tmp_path / "images.parquet", tmp_path / "found.html"
    given = ("--data.location", str(captioned), "--data.source-options", '{"split_from": "none"}')
    embedded = shared_cl.run("embed", str(output), "--model-name", NAME, *given)
    assert embedded.code == 0, embedded.err
    found = shared_cl.run(
        "--json", "search", "--text", "a red cross", str(output), "--count", "5", "--output", str(page)
    )
    assert found.code == 0, found.err
    assert {hit["label"] for hit in json.loads(found.out)["hits"]} == {"red"}
    text = page.read_text()
    assert "a red cross" in text and text.count('src="data:image/png') == 5


def test_a_folder_is_classified_by_the_names_of_classes(
    retrained: Finished, shared_cl: CommandLine, captioned: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few"
    for color in COLORS:
        (few / color).mkdir(parents=True)
        for path in sorted((captioned / color).glob("*.png"))[:5]:
            shutil.copy(path, few / color / path.name)
    (few / "broken.png").write_bytes(b"\x89PNG")
    table, page = tmp_path / "classes.csv", tmp_path / "classes.html"
    given = ["classify", str(few), "--labels", "red, green, blue, yellow", "--model-name", NAME, "--templates", "a {}"]
    done = shared_cl.run(*given, "--output", str(table), "--page", str(page))
    assert done.code == 0, done.err
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert len(rows) == 20 and all(row["origin"].split("/")[0] == row["class"] for row in rows), rows
    for row in rows:
        shares = [float(row[f"p({color})"]) for color in COLORS]
        assert sum(shares) == pytest.approx(1, abs=1e-5) and max(shares) == float(row[f"p({row['class']})"])
        # By the scale that was learned, which is well above 1, the surest are sure.
    assert max(float(row["p(red)"]) for row in rows) > 0.9
    assert "1 inputs could not be decoded" in done.out and page.read_text().count('src="data:image/png') == 20
    for words, sentence in (
        (["--labels", "circle"], "--labels: give two classes or more"),
        (["--labels", "a, b, a"], "'a' is there twice"),
        (["--labels", "a, b", "--templates", "{} {}"], "a template has {} once"),
        (["--labels", "a, b", "--output", str(tmp_path / "x.txt")], "ends in neither .csv nor .parquet"),
    ):
        refused = shared_cl.run("classify", str(few), "--model-name", NAME, *words)
        assert refused.code == 2 and sentence in refused.err, refused.err
    unknown = shared_cl.run("classify", str(few), "--model-name", "unknown", "--labels", "a, b")
    assert unknown.code == 2 and "unknown" in unknown.err


def test_retrained_with_another_seed_it_is_compared_with_the_champions_two_programs(
    retrained: Finished, shared_cl: CommandLine, captioned: Path
) -> None:
    again = shared_cl.run("retrain", recipe=recipe(captioned, seed=1))
    assert again.code == 0, again.err
    assert f"evaluated the champion, models:/{NAME}/1, on the same" in again.err
    assert re.search(r"zero_shot.accuracy.*over the champion, version 1", " ".join(again.out.split())), again.out


def test_the_model_is_evaluated_on_captions_and_on_images_alone(
    retrained: Finished, shared_cl: CommandLine, captioned: Path
) -> None:
    options = json.dumps({"size": SIZE, "length": LENGTH, "buckets": 256})
    given = [
        *("evaluate-model", "--model-name", NAME, "--version", "1", "--data.name", NAME),
        *("--data.location", str(captioned), "--data.test-share", "0.2"),
    ]
    pairs = ("--data.source", "captioned_folder", "--data.modality", "image_text", "--data.modality-options", options)
    asked = ("--evaluation.protocols", "pair_retrieval", "--evaluation.protocols", "zero_shot")
    done = shared_cl.run(*given, *pairs, *asked)
    assert done.code == 0, done.err
    assert scores(done.out, "pair_retrieval.recall_at_10") == scores(retrained.out, "pair_retrieval.recall_at_10")[:1]
    images = ("--data.source", "image_folder", "--data.image-size", str(SIZE), "--evaluation.protocols", "knn")
    alone = shared_cl.run(*given, *images)
    assert alone.code == 0, alone.err
    refused = shared_cl.run(*given, *pairs[:-1], '{"size": 16, "length": 64}')
    assert refused.code == 2 and "data.modality_options.length" in refused.err, refused.err
