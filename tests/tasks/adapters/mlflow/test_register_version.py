import dataclasses
import json
import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from registering import NAME, STEPS, copy_home, evaluation, registration, store_at
from safetensors.torch import load_file

from cl_core.errors import InputError
from cl_core.modalities._model_input import ModelInput
from cl_core.refs import Score
from tasks.adapters.mlflow.connection import connected


@pytest.fixture
def client(home):
    with connected(store_at(home).tracking_uri) as client:
        yield client


def artifact(client, run_id, name, home):
    from pathlib import Path

    return Path(client.download_artifacts(run_id, name, str(home)))


@pytest.mark.slow_unit(reason="two real registrations, of which the second must find the first")
def test_a_version_is_registered_once_and_the_second_time_says_so(home):
    first = store_at(home).register(registration())

    def build():
        raise AssertionError("the version exists, so nothing is uploaded")

    second = store_at(home).register(dataclasses.replace(registration(), build_model=build))
    assert (first.version, first.created, first.uri) == (1, True, "models:/shoes/1")
    assert second == first.model_copy(update={"created": False})


@pytest.mark.integration
def test_another_training_is_another_version_and_the_challenger_is_the_newest(home):
    store = store_at(home)
    versions = [store.register(registration(digit)).version for digit in (1, 2, 1)]
    assert versions == [1, 2, 1]
    assert [(row.version, row.aliases) for row in store.versions(NAME)] == [(2, ["challenger"]), (1, [])]


@pytest.mark.integration
def test_the_run_holds_parameters_curves_scores_dataset_and_files(home, client):
    run = client.get_run(store_at(home).register(registration()).run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["training.batch_size"] == "64"
    assert run.data.params["training.loss_options.temperature"] == "0.1"
    points = client.get_metric_history(run.info.run_id, "training/loss")
    assert [(point.step, point.value) for point in points] == [(step, 5 / step) for step in STEPS]
    assert points[1].timestamp - points[0].timestamp == 2500
    assert "training/seconds" not in run.data.metrics
    scores = {name: value for name, value in run.data.metrics.items() if "linear_probe" in name}
    assert scores == pytest.approx(
        {
            f"{baseline}linear_probe.accuracy{part}": value + difference
            for baseline, value in {"": 0.9, "untrained/": 0.7, "raw_pixels/": 0.8}.items()
            for part, difference in {"": 0, "_low": -0.01, "_high": 0.01}.items()
        }
    )
    [dataset] = [entry.dataset for entry in run.inputs.dataset_inputs]
    assert (dataset.name, dataset.digest) == ("shoe-photos", "5" * 36)
    assert "\n# shoes\n" in run.data.tags["mlflow.note.content"]
    assert run.data.tags["counterpoint.snapshot_digest"] == "5" * 64
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        "spec.json",
        "evaluation.json",
        "model_card.md",
        "weights.safetensors",
    }
    spec = json.loads(artifact(client, run.info.run_id, "spec.json", home).read_text())
    assert spec["training"]["loss_options"] == {"temperature": 0.1}
    weights = load_file(artifact(client, run.info.run_id, "weights.safetensors", home))
    assert torch.equal(weights["encoder.0.weight"], registration().build_model().state_dict()["encoder.0.weight"])


@pytest.mark.integration
def test_the_card_shows_scores_beside_baselines_and_how_to_fetch(home, client):
    ref = store_at(home).register(registration())
    card = artifact(client, ref.run_id, "model_card.md", home).read_text()
    assert r"| linear\_probe.accuracy | 0.9 \[0.89, 0.91\] | 0.7 \[0.69, 0.71\] | 0.8 \[0.79, 0.81\] |" in card
    assert 'mlflow.pyfunc.load_model("models:/shoes@champion")' in card
    assert "uint8 images (N, 8, 8, 1)" in card
    description = client.get_model_version(NAME, "1").description
    assert "linear_probe.accuracy 0.9 [0.89, 0.91]" in description.splitlines()[0]
    assert description.endswith(card)


@pytest.mark.integration
def test_a_long_curve_and_a_long_parameter_fit(home, client):
    curves = [{"step": step, **{f"metric_{i}": math.sin(step + i) for i in range(5)}} for step in range(1001)]
    specs = {"data": registration().specs["training"].model_copy(update={"method_options": {"text": ["x" * 9000]}})}
    run = client.get_run(
        store_at(home).register(dataclasses.replace(registration(), curves=curves, specs=specs)).run_id
    )
    assert all(len(client.get_metric_history(run.info.run_id, f"training/metric_{i}")) == 1001 for i in range(5))
    assert len(run.data.params["data.method_options.text"]) == 6000


@pytest.mark.integration
def test_a_newer_evaluation_of_the_same_training_is_shown_with_the_existing_version(home, client):
    store = store_at(home)
    store.register(registration())
    again = dataclasses.replace(registration(), evaluation=evaluation("f" * 64, accuracy=0.85))
    ref = store.register(again)
    assert not ref.created
    [row] = store.versions(NAME)
    assert row.scores["linear_probe.accuracy"] == Score(value=0.85, low=0.84, high=0.86)
    assert client.get_run(ref.run_id).data.metrics["linear_probe.accuracy"] == 0.85
    assert r"0.85 \[0.84, 0.86\]" in artifact(client, ref.run_id, "model_card.md", home).read_text()


@pytest.mark.integration
def test_versions_doubled_by_two_machines_are_reduced_to_the_lowest(home, client):
    store = store_at(home)
    ref = store.register(registration())
    existing = client.get_model_version(NAME, "1")
    client.create_model_version(NAME, existing.source, ref.run_id, tags=existing.tags)
    assert store.register(registration()).version == 1
    assert [row.version for row in store.versions(NAME)] == [1]


@pytest.mark.parametrize("name", ["", "a/b", "it's", "-shoes", "models:x"])
def test_a_name_that_cannot_name_a_model_is_refused(home, name):
    with pytest.raises(InputError, match="cannot name a model"):
        store_at(home).register(registration(name=name))


def test_a_deleted_experiment_is_named_with_the_command_that_brings_it_back(home, client):
    client.delete_experiment(client.create_experiment(NAME))
    with pytest.raises(InputError, match="mlflow experiments restore --experiment-id"):
        store_at(home).register(registration())


@pytest.mark.integration
def test_a_report_is_put_beside_the_other_artifacts(home, client):
    ref = store_at(home).register(registration())
    store_at(home).log_report(ref.run_id, "report.html", "<p>")
    assert artifact(client, ref.run_id, "report.html", home).read_text() == "<p>"


def test_a_version_is_found_by_its_training_and_an_unknown_training_is_answered_with_the_versions_there_are(full_home):
    store = store_at(full_home)
    assert [store.of_training(NAME, f"{digit}" * 64).version for digit in (1, 2, 3)] == [1, 2, 3]
    with pytest.raises(InputError, match=r"no version of 'shoes' was made by training 9999.*1, 2, 3\. `cl register`"):
        store.of_training(NAME, "9" * 64)
    with pytest.raises(InputError, match="no registered model named 'boots'; there are: shoes"):
        store.of_training("boots", "1" * 64)


@pytest.mark.integration
def test_nothing_is_printed(home, capfd):
    store_at(home).register(registration())
    assert capfd.readouterr() == ("", "")


STRANGER = """
import sys, numpy as np

class Nothing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("cl_core", "tasks", "flows"):
            raise ImportError(name)

sys.meta_path.insert(0, Nothing())
import mlflow, torch
images = np.load("images.npy")
# No store has to be known, or to answer.
mlflow.set_tracking_uri("http://127.0.0.1:9")
np.save("copied.npy", mlflow.pyfunc.load_model("copies/shoes").predict(images))
mlflow.set_tracking_uri(sys.argv[1])
served = mlflow.pyfunc.load_model("models:/shoes@challenger")
np.save("served.npy", served.predict(images))
np.save("one.npy", served.predict(images[:1]))
np.save("program.npy", mlflow.pytorch.load_model("models:/shoes/1")(torch.from_numpy(images)).numpy())
try:
    served.predict(images.astype(np.float32))
except mlflow.exceptions.MlflowException as error:
    assert "float32 does not match expected dtype uint8" in str(error), error
else:
    raise AssertionError("a float input was taken")
"""


@pytest.mark.sweep
def test_a_stranger_without_this_project_fetches_and_calls_the_model_with_pickles_forbidden(home):
    store = store_at(home)
    store.copy(store.register(registration()), home / "copies" / "shoes")
    model = registration().build_model()
    np.save(home / "images.npy", model.example(7)[0].numpy())
    subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, store.tracking_uri],
        cwd=home,
        env={**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        check=True,
    )
    wanted = model(*model.example(7)).numpy()
    for found, rows in {"copied": 7, "served": 7, "program": 7, "one": 1}.items():
        np.testing.assert_allclose(np.load(home / f"{found}.npy"), wanted[:rows], atol=1e-6)


@pytest.mark.integration
def test_what_was_not_measured_at_a_step_is_no_point_of_its_curve(home, client):
    curves = [{"step": 1, "loss": 5.0, "knn_accuracy": None}, {"step": 2, "loss": 4.0, "knn_accuracy": 0.5}]
    run = client.get_run(store_at(home).register(dataclasses.replace(registration(), curves=curves)).run_id)
    points = client.get_metric_history(run.info.run_id, "training/knn_accuracy")
    assert [(point.step, point.value) for point in points] == [(2, 0.5)]


def test_a_version_is_found_by_its_number_and_0_is_the_champion(full_home, tmp_path):
    home = tmp_path / "home"
    copy_home(full_home, home)
    store = store_at(home)
    assert store.find(NAME, 2).uri == "models:/shoes/2"
    with pytest.raises(
        InputError, match=r"has no champion yet; name one of its versions: 1, 2, 3, or promote one \(`cl"
    ):
        store.find(NAME, 0)
    store.promote(NAME, 3, "wanted")
    assert store.find(NAME, 0).version == 3
    with pytest.raises(InputError, match="has no version 4; there are: 1, 2, 3"):
        store.find(NAME, 4)


def test_a_version_says_which_images_it_takes(full_home):
    store = store_at(full_home)
    assert store.model_input(store.find(NAME, 1)) == ModelInput(shape=(8, 8, 1))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("shoes", "wanted NAME@ALIAS or NAME/VERSION, such as fashion-mnist@champion; got 'shoes'"),
        ("@champion", "wanted NAME@ALIAS or NAME/VERSION"),
        ("shoes/last", "wanted NAME@ALIAS or NAME/VERSION"),
        ("shoes@champion", "model 'shoes' has no alias 'champion'; there are: challenger"),
        ("shoes/9", "model 'shoes' has no version 9; there are: 1, 2, 3"),
        ("boots@champion", "there is no registered model named 'boots'; there are: shoes"),
    ],
)
def test_a_name_of_no_version_is_refused_with_those_there_are(full_home, text, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        store_at(full_home).named(text)


def test_a_version_is_copied_by_its_number_or_alias_and_never_over_something(full_home, tmp_path):
    store, folder = store_at(full_home), tmp_path / "copies" / "shoes"
    for text in ("shoes@challenger", "shoes/3"):
        assert store.named(text).version == 3
    store.copy(store.named("shoes/3"), folder)
    assert (folder / "MLmodel").exists()
    with pytest.raises(InputError, match="exists already; remove it, or give another"):
        store.copy(store.named("shoes/3"), folder)


@pytest.mark.parametrize("elsewhere", ["http://127.0.0.1:9", "sqlite:////nowhere/registry.db"])
def test_the_registry_of_another_project_is_never_asked(full_home, tmp_path, monkeypatch, elsewhere):
    """MLflow itself prefers MLFLOW_REGISTRY_URI; `cl fetch`, `cl embed` and scores of champions failed then."""
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", elsewhere)
    store = store_at(full_home)
    ref = store.named("shoes/3")
    assert store.model_input(ref) == ModelInput(shape=(8, 8, 1))
    store.copy(ref, tmp_path / "copy")
    assert (tmp_path / "copy" / "MLmodel").exists()
    with torch.no_grad():
        assert store.load(ref)(torch.zeros(2, 8, 8, 1, dtype=torch.uint8)).shape == (2, 4)
    assert os.environ["MLFLOW_REGISTRY_URI"] == elsewhere
