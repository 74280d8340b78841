"""A kind of data of another package, with two columns, through the very same flow: retrained, fetched and embedded."""

import os
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.models import get_model_info
from modalities.cases import PLUGIN

from .conftest import CommandLine, Finished

# The package is on the path of the process, as if it were installed.
PACKAGE = {"PYTHONPATH": os.pathsep.join([str(PLUGIN), *filter(None, [os.environ.get("PYTHONPATH")])])}
RECIPE = {
    "model_name": "necklaces",
    "data": {"name": "necklaces", "modality": "necklace", "source": "necklace_lines", "test_share": 0.3},
    "training": {
        "views": "dacl_mixup",
        "encoder": "mlp",
        "encoder_options": {"hidden": 32, "features": 16},
        "epochs": 4,
        "batch_size": 32,
        "precision": "fp32",
    },
    "evaluation": {"protocols": ["knn", "geometry"], "options": {"knn": {"ks": [20]}}, "resamples": 200},
    "promotion": {"score": "knn_20.accuracy"},
    "compute": {"threads": 1},
}
STRINGS, CLASPS = 150, 3
LOAD = """
import numpy
clasps, beads = numpy.load("clasps.npy"), numpy.load("beads.npy")
"""


def lines() -> list[tuple[list[float], str, str]]:
    """Three clasps for each of 150 strings of beads, of two classes."""
    rng = np.random.default_rng(0)
    strings = {"".join(rng.choice(list(("abcdefgh", "mnopqrst")[number % 2]), 9)) for number in range(STRINGS)}
    return [
        (rng.normal(size=3).round(3).tolist(), string, "few" if string[0] < "m" else "many")
        for string in sorted(strings)
        for _ in range(CLASPS)
    ]


def cl(command_line: CommandLine, *arguments: str, recipe: dict[str, object] | None = None) -> Finished:
    # Under a command, so that it is a program that starts with this path.
    finished = command_line.run(*arguments, recipe=recipe, under=["env"], **PACKAGE)
    assert finished.code == 0, finished.err
    return finished


@pytest.fixture(scope="module")
def file(shared_cl: CommandLine) -> Path:
    path = shared_cl.home.parent / "necklaces.txt"
    path.write_text("".join(f"{' '.join(map(repr, clasp))} {beads} {label}\n" for clasp, beads, label in lines()))
    return path


@pytest.fixture(scope="module")
def retrained(shared_cl: CommandLine, file: Path) -> Finished:
    return cl(shared_cl, "retrain", recipe={**RECIPE, "data": {**RECIPE["data"], "location": str(file)}})


def test_both_columns_are_ingested_cached_and_shown(retrained: Finished, shared_cl: CommandLine) -> None:
    assert f"decoded {STRINGS * CLASPS} necklaces into necklaces with 3 measures and at most 12 beads" in retrained.err
    assert f"kept together: {STRINGS} groups" in retrained.err and "the largest has 3 samples" in retrained.err
    [part] = shared_cl.home.glob("datasets/necklaces/*/train/*.parquet")
    assert pq.read_schema(part).names == ["id", "clasp", "bead", "label", "group"]
    [page] = shared_cl.home.glob("reports/necklaces/*.html")
    assert len(re.findall(r"<code>\[-?\d.*?\] [a-t]{9}</code>", page.read_text())) > 50


def test_it_is_scored_beside_its_baseline(retrained: Finished) -> None:
    accuracy = re.search(r"knn_20.accuracy +│ +([\d.]+)", retrained.out)
    assert accuracy is not None and float(accuracy[1]) > 0.9, retrained.out
    assert "clasp and bead counts" in retrained.out


@pytest.fixture(scope="module")
def embedded(retrained: Finished, shared_cl: CommandLine, file: Path) -> Path:
    output = shared_cl.home.parent / "embeddings.parquet"
    source = ("--data.source", "necklace_lines", "--data.location", str(file))
    cl(shared_cl, "embed", str(output), "--model-name", "necklaces", "--version", "1", *source)
    return output


def test_the_printed_lines_embed_arrays_as_the_command_does_where_this_project_is_not(
    retrained: Finished, shared_cl: CommandLine, embedded: Path
) -> None:
    printed = [line.strip() for line in retrained.out.splitlines()]
    fetch = printed[printed.index("import mlflow, torch") :][:3]
    assert fetch[2] == (
        "embeddings = model(torch.from_numpy(clasps), torch.from_numpy(beads))  "
        "# float32 (N, 3), uint8 (N, 12) -> float32 (N, D), unit rows"
    )
    folder = shared_cl.home.parent
    np.save(folder / "clasps.npy", np.array([clasp for clasp, _, _ in lines()], np.float32))
    strings = [np.frombuffer(beads.encode().ljust(12, b"\0"), np.uint8) for _, beads, _ in lines()]
    np.save(folder / "beads.npy", np.stack(strings))
    shared_cl.stranger(LOAD, *fetch, "numpy.save('fetched.npy', embeddings.numpy())")
    table = pq.read_table(embedded)
    assert table["origin"].to_pylist() == [f"necklaces.txt#{number}" for number in range(STRINGS * CLASPS)]
    np.testing.assert_allclose(np.load(folder / "fetched.npy"), np.stack(table["embedding"].to_numpy()), atol=1e-6)


def test_the_version_names_both_columns(
    retrained: Finished, shared_cl: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(f"sqlite:///{shared_cl.home}/mlflow.db")
    version = client.get_model_version("necklaces", "1")
    assert version.tags["counterpoint.input"] == "3 + 12"
    assert "float32 clasps (N, 3) and uint8 beads (N, 12), necklaces with 3 measures" in version.description
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared_cl.home}/mlflow.db")
    taken = get_model_info("models:/necklaces/1").signature.inputs.to_dict()
    assert [(one["name"], one["tensor-spec"]) for one in taken] == [
        ("clasp", {"dtype": "float32", "shape": (-1, 3)}),
        ("bead", {"dtype": "uint8", "shape": (-1, 12)}),
    ]
