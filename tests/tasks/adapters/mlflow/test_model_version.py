"""What the pages of a version show, asked of a real server as its pages ask."""

import dataclasses
import json
import shutil
import urllib.parse
import urllib.request

import pytest
from registering import LINEAGE, NAME, evaluation, model, registration, store_at
from servers import serving

from cl_core.refs import Lineage
from tasks.adapters.mlflow.connection import connected
from tasks.adapters.mlflow.model_store import ModelStore
from tasks.adapters.mlflow.model_version import SNAPSHOT_DIGEST, TRAINING_DIGEST, lineage_from_tags

ORIGIN = {
    "counterpoint.training_digest": "1" * 64,
    "counterpoint.snapshot_digest": "5" * 64,
    "counterpoint.code_version": "0.1.0",
    "counterpoint.source_digest": "c" * 64,
    "counterpoint.recipe": "shoes-simclr.json",
    "counterpoint.prefect_flow_run_id": LINEAGE.flow_run_id,
    "counterpoint.prefect_flow_run_url": LINEAGE.flow_run_url,
}


@pytest.fixture(scope="module")
def server(empty_home, tmp_path_factory):
    """A server with one version, evaluated anew by another flow run, and a function that asks it."""
    home = tmp_path_factory.mktemp("served")
    shutil.copy(empty_home / "mlflow.db", home)
    with serving(home) as (address, _):
        store = ModelStore(address, None, home / "work")
        store.register(registration())
        later = LINEAGE.model_copy(update={"flow_run_id": "another run", "source_digest": "d" * 64})
        store.register(
            dataclasses.replace(registration(), evaluation=evaluation("f" * 64, accuracy=0.85), lineage=later)
        )

        def ask(page, **query):
            url = f"{address}/{page}?{urllib.parse.urlencode(query)}"
            with urllib.request.urlopen(url, timeout=30) as answer:
                return answer.read().decode()

        yield ask


@pytest.fixture(scope="module")
def version(server):
    return json.loads(server("api/2.0/mlflow/model-versions/get", name=NAME, version=1))["model_version"]


def named(pairs):
    return {pair["key"]: pair["value"] for pair in pairs}


@pytest.mark.integration
def test_the_versions_page_shows_card_scores_with_intervals_and_lineage(version):
    tags = named(version["tags"])
    assert ORIGIN.items() <= tags.items()
    assert tags["counterpoint.evaluation_digest"] == "f" * 64
    assert json.loads(tags["counterpoint.scores"])["linear_probe.accuracy"] == {
        "value": 0.85,
        "low": pytest.approx(0.84),
        "high": pytest.approx(0.86),
    }
    card = version["description"]
    assert card.splitlines()[0].startswith("Encoder of images trained by contrastive learning on shoe-photos")
    assert r"| linear\_probe.accuracy | 0.85 \[0.84, 0.86\] | 0.7 \[0.69, 0.71\] | 0.8 \[0.79, 0.81\] |" in card
    assert f"| Data | shoe-photos, snapshot `{'5' * 64}` |" in card
    assert "| Code | counterpoint 0.1.0, source `cccccccccccc` |" in card
    assert "| Recipe | shoes-simclr.json; the complete specs are in `spec.json` |" in card
    assert f"| Prefect flow run | [{LINEAGE.flow_run_id}](<{LINEAGE.flow_run_url}>) |" in card


@pytest.mark.integration
def test_the_runs_page_shows_the_same_and_the_data(server, version):
    run = json.loads(server("api/2.0/mlflow/runs/get", run_id=version["run_id"]))["run"]
    tags = named(run["data"]["tags"])
    assert ORIGIN.items() <= tags.items()
    assert tags["mlflow.note.content"] == version["description"]
    metrics = named(run["data"]["metrics"])
    assert [metrics[f"linear_probe.accuracy{part}"] for part in ("_low", "", "_high")] == pytest.approx(
        [0.84, 0.85, 0.86]
    )
    [dataset] = [given["dataset"] for given in run["inputs"]["dataset_inputs"]]
    assert (dataset["name"], dataset["digest"]) == ("shoe-photos", "5" * 36)
    spec = json.loads(server("get-artifact", run_id=version["run_id"], path="spec.json"))
    assert spec["training"]["method"] == "simclr"


@pytest.mark.integration
def test_the_logged_models_page_shows_signature_input_example_and_lineage(server, version):
    name = version["source"].removeprefix("models:/")
    logged = json.loads(server(f"api/2.0/mlflow/logged-models/{name}"))["model"]
    assert ORIGIN.items() <= named(logged["info"]["tags"]).items()

    def file(path):
        return server(f"ajax-api/2.0/mlflow/logged-models/{name}/artifacts/files", artifact_file_path=path)

    described = " ".join(file("MLmodel").split())
    assert '"dtype": "uint8", "shape": [-1, 8, 8, 1]' in described
    assert '"dtype": "float32", "shape": [-1, 4]' in described
    assert json.loads(file("input_example.json")) == model().example()[0].tolist()


@pytest.mark.integration
def test_a_card_longer_than_mlflow_keeps_is_cut_at_a_line_and_says_where_the_rest_is(home):
    scores = evaluation()
    many = {f"protocol_{i}.accuracy": score for i, score in enumerate([*scores.trained.scores.values()] * 60)}
    trained = scores.trained.model_copy(update={"scores": many})
    wide = scores.model_copy(update={"representations": {**scores.representations, "trained": trained}})
    ref = store_at(home).register(dataclasses.replace(registration(), evaluation=wide))
    with connected(store_at(home).tracking_uri) as client:
        card = client.get_model_version(NAME, str(ref.version)).description
    assert 4000 < len(card) <= 5000
    assert card.endswith("|\n\nThe rest is in `model_card.md` among the artifacts of the run.\n")


def test_what_is_not_known_has_no_tag_and_reads_back_as_unknown():
    unknown = dataclasses.replace(registration(), lineage=Lineage())
    assert unknown.run_tags.keys() == {TRAINING_DIGEST, SNAPSHOT_DIGEST}
    assert lineage_from_tags({"counterpoint.recipe": "a.json", "other": "b"}) == Lineage(recipe="a.json")
