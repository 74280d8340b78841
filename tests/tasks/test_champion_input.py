"""A champion that takes other images than this run's is evaluated on the same samples, made into what it takes."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types import Schema, TensorSpec
from PIL import Image
from prefect.logging import disable_run_logger
from registering import CHANNELS, FEATURES, NAME, SIZE, copy_home, registration, store_at
from small_training import JobOf
from torch import nn

from cl_core.data.cache import build_cache, load_split
from cl_core.data.column_files import mapped
from cl_core.data.snapshot import SPLITS, row_groups
from cl_core.evaluation.runner import read_assessment
from cl_core.export import EmbeddingModel
from cl_core.modalities._image_decoding import decode
from cl_core.modalities._image_processor import ImageProcessor
from cl_core.modalities._model_input import ModelInput
from cl_core.modalities.image import Images
from cl_core.refs import AssessmentRef, ComparisonReason, ModelRef, NotComparable
from cl_core.report.reasons import comparison_sentence, decision_sentence
from cl_core.specs import EvaluationSpec
from cl_core.training.job import TrainingJob
from tasks.adapters.mlflow.model_version import MODALITY, Registration
from tasks.champion_input import made_into
from tasks.evaluation import check_champion, evaluate_champion

EVALUATION = EvaluationSpec(protocols=["knn"], options={"knn": {"ks": [5]}}, resamples=100)
SIDE = 12


def color_model() -> EmbeddingModel:
    torch.manual_seed(7)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(256, FEATURES))
    return EmbeddingModel(ImageProcessor((0.3, 0.4, 0.5), (0.2, 0.2, 0.2), SIDE), encoder)


@pytest.fixture
def home(full_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three versions for small grayscale images, of which the first is the champion."""
    copy_home(full_home, tmp_path)
    monkeypatch.setenv("CL_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store_at(tmp_path).promote(NAME, 1, "to begin with")
    return tmp_path


BLACK, WHITE = 40.0, 200.0


def in_color() -> Registration:
    return dataclasses.replace(registration(4), build_model=color_model, takes=ModelInput(shape=(SIDE, SIDE, 3)))


def of_a_sensor() -> Registration:
    takes = ModelInput(shape=(SIZE, SIZE, CHANNELS), hidden={"value_range": [BLACK, WHITE]})
    return dataclasses.replace(registration(4), takes=takes)


@pytest.fixture
def champion(home: Path, request: pytest.FixtureRequest) -> ModelRef | None:
    """Version 1, or a version 4 that the parameter describes."""
    if request.param:
        store_at(home).register(request.param())
        store_at(home).promote(NAME, 4, "for now")
    return store_at(home).champion(NAME)


@pytest.fixture
def foreign_champion(home: Path, request: pytest.FixtureRequest) -> None:
    """A version that another program has registered, with a signature or without: it takes no images."""
    folder = home / "theirs"
    folder.mkdir()
    Model(signature=request.param).save(folder / MLMODEL_FILE_NAME)
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    client.create_model_version(NAME, source=str(folder))
    store_at(home).promote(NAME, 4, "of another program")


@pytest.fixture
def job(job_of: JobOf) -> TrainingJob:
    """On grayscale images of 16 x 16 pixels."""
    return job_of()


Checked = Callable[..., str]


@pytest.fixture
def checked(job: TrainingJob, capsys: pytest.CaptureFixture[str]) -> Checked:
    """What is said before a training."""

    def check(*, digest: str = "a" * 64, name: str = NAME, size: int = 0) -> str:
        data, cache = job.data, job.cache
        if size:
            data = job.data.model_copy(update={"image_size": size})
            cache = build_cache(job.snapshot, data.built_modality, caches=job.folder / "caches")
        with disable_run_logger():
            check_champion.fn(name, job.model_copy(update={"data": data, "cache": cache, "digest": digest}))
        return capsys.readouterr().err.strip()

    return check


def evaluated(job: TrainingJob) -> AssessmentRef | NotComparable | None:
    challenger = ModelRef(
        name=NAME, version=9, uri=f"models:/{NAME}/9", training_digest=job.digest, run_id="", created=True
    )
    with disable_run_logger():
        return evaluate_champion.fn(challenger, job, EVALUATION)


def samples(job: TrainingJob, split: str) -> list[np.ndarray]:
    """(H, W) uint8 grayscale images, in the order of the snapshot."""
    return [decode(row.payload)[:, :, 0] for group in row_groups(job.snapshot, split) for row in group]


@pytest.mark.parametrize(
    ("champion", "side", "channels"), [(None, SIZE, CHANNELS), (in_color, SIDE, 3)], indirect=["champion"]
)
def test_it_embeds_the_same_samples_at_the_size_and_in_the_colors_that_it_takes(
    home: Path, job: TrainingJob, champion: ModelRef, side: int, channels: int
) -> None:
    found = evaluated(job)
    assert isinstance(found, AssessmentRef) and found.version == champion.version
    model = store_at(home).load(champion)
    for split in SPLITS:
        resized = [
            Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC) for image in samples(job, split)
        ]
        images = np.stack([np.repeat(np.asarray(one)[:, :, None], channels, axis=2) for one in resized])
        with torch.inference_mode():
            wanted = model(torch.from_numpy(images)).numpy()
        [kept] = (home / "embeddings").glob(f"*/{split}.features.npy")
        np.testing.assert_allclose(mapped(kept), wanted, atol=1e-6)
    # So each of its predictions is compared with the challenger's of the same sample.
    labels = read_assessment(found).labels
    assert labels is not None and len(labels) == job.snapshot.rows["test"]


@pytest.mark.parametrize("champion", [of_a_sensor], indirect=True)
def test_the_values_that_are_black_and_white_to_it_are_its_own(
    home: Path, job: TrainingJob, champion: ModelRef
) -> None:
    """The files' values 40 to 200 are stretched: those of this run are as they are stored."""
    assert isinstance(evaluated(job), AssessmentRef)
    [cache] = (home / "caches").iterdir()
    assert cache.name == f"{job.snapshot.digest}-8x8x1-40-200"
    levels = np.clip((np.arange(256) - BLACK) / (WHITE - BLACK), 0, 1) * 255
    wanted = [
        Image.fromarray(np.floor(levels[image] + 0.5).astype(np.uint8)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        for image in samples(job, "test")
    ]
    images = load_split(cache, "test").column.take(slice(None))
    np.testing.assert_array_equal(images[:, :, :, 0], np.stack(list(map(np.asarray, wanted))))


def test_it_may_take_images_of_a_size_that_the_data_of_a_run_may_not_have(home: Path, job: TrainingJob) -> None:
    prepared = made_into(ModelInput(shape=(6, 6, CHANNELS)), job, store_at(home).find(NAME, 1))
    assert not isinstance(prepared, NotComparable)
    assert prepared.processor.size == 6
    assert load_split(prepared.cache, "test").column.shape == (6, 6, CHANNELS)
    # Its cache would take a second.
    larger = ModelInput(shape=(600, 600, CHANNELS))
    assert larger.kind == Images(size=600)
    assert job.data.with_options_of(larger.kind).built_modality.example_processor(larger.arrays).size == 600


def taking(*inputs: TensorSpec) -> ModelSignature:
    return ModelSignature(inputs=Schema(list(inputs)))


@pytest.mark.parametrize(
    ("foreign_champion", "taken"),
    [
        (None, "inputs without a signature, not one array"),
        (
            taking(*(TensorSpec(np.dtype("uint8"), (-1, 8, 8, 1), name) for name in "ab")),
            "['a': Tensor('uint8', (-1, 8, 8, 1)), 'b': Tensor('uint8', (-1, 8, 8, 1))], not one array",
        ),
        (taking(TensorSpec(np.dtype("float64"), (-1, 8, 8, 1))), "nothing that 'image' gives: its arrays are float64"),
        (
            taking(TensorSpec(np.dtype("uint8"), (-1, 8))),
            "nothing that 'image' gives: its signature names no images, so another program registered it",
        ),
    ],
    indirect=["foreign_champion"],
    ids=["no signature", "two arrays", "float64", "rows"],
)
def test_of_a_champion_that_takes_no_images_the_reason_is_returned_with_what_to_do(
    home: Path, foreign_champion: None, taken: str, job: TrainingJob, checked: Checked
) -> None:
    found = evaluated(job)
    assert isinstance(found, NotComparable) and found.version == 4
    assert comparison_sentence(found) == (
        f"models:/shoes/4, the champion, cannot be evaluated on these samples: models:/shoes/4 takes {taken}; "
        "choose a model that `cl retrain` registered; promote by hand with `cl promote`, or choose another model_name"
    )
    assert f"warning: the version will not be promoted, whatever its scores: {comparison_sentence(found)}" in checked()


def test_a_champion_of_a_modality_that_is_not_installed_is_named_with_its_modality(
    home: Path, job: TrainingJob, checked: Checked
) -> None:
    MlflowClient(f"sqlite:///{home}/mlflow.db").set_model_version_tag(NAME, "1", MODALITY, "beads")
    found = evaluated(job)
    assert isinstance(found, NotComparable)
    assert found.reason == ComparisonReason(code="unknown_modality", modality="beads")
    assert "models:/shoes/1 takes modality 'beads', which is not installed; install the package" in checked()


@pytest.mark.parametrize("foreign_champion", [None], indirect=True)
def test_a_version_without_a_run_has_the_sentence_of_its_decision_alone(home: Path, foreign_champion: None) -> None:
    again = store_at(home).promote(NAME, 4, "once more")
    assert decision_sentence(again) == (
        "version 4 is the champion already (version 4 is promoted by hand: of another program)"
    )


def test_before_the_training_it_says_what_each_of_them_is_evaluated_on(home: Path, checked: Checked) -> None:
    assert checked() == (
        "models:/shoes/1, the champion, takes grayscale images of 8 x 8 pixels; it will be evaluated on this run's "
        "samples as such, and this run's encoder on grayscale images of 16 x 16 pixels"
    )
    assert checked(size=SIZE) == ""


def test_nothing_is_said_without_a_champion_or_of_its_own_training(home: Path, checked: Checked) -> None:
    assert checked(name="boots") == ""
    own = store_at(home).champion(NAME)
    assert own is not None
    assert checked(digest=own.training_digest) == ""


def test_an_mlflow_that_does_not_answer_delays_no_training(
    home: Path, checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("CL_STORE_PAUSE_S", "0.001")
    assert checked().startswith(
        "what the champion takes is not known yet: MLflow at http://127.0.0.1:1 does not answer"
    )
