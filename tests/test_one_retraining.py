"""The whole way once, as a person goes it: one command from a Parquet file to a champion, fetched with MLflow alone."""

import io
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from clothes import CLOTHES
from pictures import SAMPLE
from PIL import Image

CL = Path(sys.executable).with_name("cl")
TEMPERATURE = 0.1  # Of the votes: the default of `knn`.
# Of the gain over raw pixels the interval begins at +0.03 after 14 epochs, and at +0.006 after 8: too near to 0 for a
# machine that rounds in another way.
RECIPE = {
    **CLOTHES,
    "training": {**CLOTHES["training"], "epochs": 14},
    "evaluation": {"protocols": ["knn"], **CLOTHES["evaluation"]},
}
# A stranger's program: MLflow and torch are there, Counterpoint is not, and pickles are forbidden.
FETCH = """
import sys, numpy
sys.modules["cl_core"] = None  # Importing it is an error.
import mlflow
model = mlflow.pyfunc.load_model("models:/clothes@champion")
numpy.save("embeddings.npy", model.predict(numpy.load("images.npy")))
"""

pytestmark = pytest.mark.slow_unit(reason="the one test of everything: a program that trains, and one that fetches")


@dataclass(frozen=True)
class Retraining:
    """What `cl retrain` printed and kept, and the embeddings of the sample by the fetched champion."""

    output: str
    home: Path
    embeddings: np.ndarray
    labels: np.ndarray
    is_test: np.ndarray


@pytest.fixture(scope="module")
def retraining(tmp_path_factory: pytest.TempPathFactory) -> Retraining:
    folder = tmp_path_factory.mktemp("one-retraining")
    home = folder / "home"
    (folder / "recipe.json").write_text(json.dumps(RECIPE))
    servers = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "RAY_ADDRESS")
    environment = {name: value for name, value in os.environ.items() if name not in servers} | {"CL_HOME": str(home)}
    command = [str(CL), "retrain", "--recipe", "recipe.json"]
    retrain = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert retrain.returncode == 0, retrain.stderr

    sample = pq.read_table(SAMPLE)
    pixels = [np.asarray(Image.open(io.BytesIO(image)))[..., None] for image in sample["image"].to_pylist()]
    np.save(folder / "images.npy", np.stack(pixels))
    environment = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "OMP_NUM_THREADS": "1",
    }
    fetch = subprocess.run([sys.executable, "-c", FETCH], env=environment, cwd=folder, capture_output=True, text=True)
    assert fetch.returncode == 0, fetch.stderr
    return Retraining(
        output=retrain.stdout,
        home=home,
        embeddings=np.load(folder / "embeddings.npy"),
        labels=np.array(sample["label"].to_pylist()),
        is_test=np.array(sample["split"].to_pylist()) == "test",
    )


def printed(retraining: Retraining, score: str) -> list[float]:
    """A score of the trained encoder, of the untrained one, and of raw pixels."""
    [row] = [line for line in retraining.output.splitlines() if line.startswith(f"│ {score} ")]
    return [float(value) for value in re.findall(r"(\d\.\d+) \[", row)]


def accuracy(retraining: Retraining, *, k: int) -> float:
    """Of votes of the k nearest training images, written out in NumPy."""
    queries, bank = retraining.embeddings[retraining.is_test], retraining.embeddings[~retraining.is_test]
    classes, groups = np.unique(retraining.labels, return_inverse=True)
    truth, group_of = groups[retraining.is_test], groups[~retraining.is_test]
    cosines = queries.astype(np.float64) @ bank.astype(np.float64).T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    votes = np.exp((np.take_along_axis(cosines, nearest, axis=1) - 1) / TEMPERATURE)
    tally = np.stack([(votes * (group_of[nearest] == group)).sum(1) for group in range(len(classes))], axis=1)
    return float((tally.argmax(axis=1) == truth).mean())


def test_the_champion_beats_raw_pixels_and_the_untrained_encoder(retraining: Retraining) -> None:
    trained, untrained, raw = printed(retraining, "knn_200.accuracy")
    assert "models:/clothes/1" in retraining.output
    assert raw == pytest.approx(0.672, abs=0.001), "nothing trained is in it: 200 neighbors among 2,000 images"
    assert trained > raw + 0.02 and trained > untrained + 0.02


def test_the_fetched_champion_embeds_every_image_as_a_unit_row(retraining: Retraining) -> None:
    assert retraining.embeddings.dtype == np.float32 and len(retraining.embeddings) == 2500
    assert np.linalg.norm(retraining.embeddings, axis=1) == pytest.approx(np.ones(2500), abs=1e-5)


@pytest.mark.parametrize("k", [20, 200])
def test_the_fetched_champion_scores_what_was_measured_before_it_was_registered(retraining: Retraining, k: int) -> None:
    """Training and serving cannot differ: the score comes from the checkpoint, the embeddings from MLflow.

    To one of 500 images: the printed score has three digits, and sums in another order move the last bit of a cosine.
    """
    assert accuracy(retraining, k=k) == pytest.approx(printed(retraining, f"knn_{k}.accuracy")[0], abs=0.0025)


def test_the_report_is_one_file_that_asks_nothing_of_the_network(retraining: Retraining) -> None:
    [page] = (retraining.home / "reports").rglob("*.html")
    html = page.read_text()
    assert "Ankle boot" in html and 'src="http' not in html
