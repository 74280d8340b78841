"""From which weights a training starts: the champion's of the moment it was first asked for, ever after."""

import copy
import dataclasses
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from prefect.logging import disable_run_logger
from pydantic import ValidationError
from registering import CHANNELS, NAME, SIZE, registration, store_at
from safetensors.torch import load_file
from texts import split_of_texts

from cl_core.errors import InputError, SpecError
from cl_core.export import EmbeddingModel
from cl_core.hashing import file_sha256
from cl_core.modalities import ArraySpec
from cl_core.modalities._image_processor import ImageProcessor
from cl_core.modalities._model_input import ModelInput
from cl_core.modalities.image import Images
from cl_core.modalities.image_text import ImageTexts
from cl_core.modalities.text import Texts
from cl_core.refs import InitialWeightsRef
from cl_core.specs import TrainingSpec
from cl_core.training.components import assemble
from cl_core.training.warm_start import load_initial_weights, state_of
from tasks import initial_weights
from tasks.adapters.mlflow.connection import connected

TRAINING = TrainingSpec(encoder="mlp", encoder_options={"hidden": 8, "features": 4}, start_from="champion")


@pytest.fixture(scope="module")
def registered(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions with the encoder that is asked for, and no champion."""
    home = tmp_path_factory.mktemp("registered")
    shutil.copy(empty_home / "mlflow.db", home)
    for digit in (1, 2):
        torch.manual_seed(digit)
        encoder = assemble(TRAINING).encoder.build((CHANNELS, SIZE, SIZE))
        model = EmbeddingModel(ImageProcessor((0.3,), (0.2,), SIZE), encoder)
        store_at(home).register(
            dataclasses.replace(
                registration(digit), build_model=lambda model=model: model, specs={"training": assemble(TRAINING).spec}
            )
        )
    return home


@pytest.fixture
def home(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, where version 1 is the champion."""
    return home_with(registered, tmp_path, monkeypatch)


def home_with(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(registered / "mlflow.db", tmp_path)
    monkeypatch.setenv("CL_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store_at(tmp_path).promote(NAME, 1, "to begin with")
    return tmp_path


def start(
    request: str = "a" * 64, *, name: str = NAME, size: int = SIZE, **changes: object
) -> InitialWeightsRef | None:
    training = TrainingSpec.model_validate({**TRAINING.model_dump(), **changes})
    with disable_run_logger():
        return initial_weights.find_initial_weights(
            assemble(training),
            model_name=name,
            request=request,
            continued=partial(Images(size=size).processor, (ArraySpec("uint8", (size, size, CHANNELS)),)),
        )


def test_it_starts_from_the_champions_weights_by_their_digest(home, capsys):
    found = start()
    assert found.champion == "models:/shoes/1"
    assert found.sha256 == file_sha256(found.path / "weights.safetensors")
    torch.manual_seed(1)
    encoder = assemble(TRAINING).encoder.build((CHANNELS, SIZE, SIZE))
    kept = load_file(found.path / "weights.safetensors")
    assert all(torch.equal(kept[f"encoder.{name}"], tensor) for name, tensor in encoder.state_dict().items())
    assert "training starts from the weights of models:/shoes/1, the champion" in capsys.readouterr().err


def test_a_training_keeps_its_first_weights_whoever_is_champion_by_now(home, capsys):
    first = start()
    store_at(home).promote(NAME, 2, "it started from version 1")
    assert start() == first
    again = capsys.readouterr().err.splitlines()[-1]
    assert "training starts from the weights of models:/shoes/1" in again
    assert again.endswith("as when this training was first requested")
    other = start("b" * 64)
    assert other.champion == "models:/shoes/2"
    assert other.sha256 != first.sha256


def test_without_a_champion_it_starts_from_scratch_says_so_and_keeps_to_it(home, capsys):
    assert start(name="boots") is None
    assert "training starts from scratch: 'boots' had no champion" in capsys.readouterr().err
    # By now there is one, but this training has begun.
    assert start(name=NAME, request="c" * 64) is not None
    assert start(name=NAME) is None


def test_from_scratch_mlflow_is_not_asked(home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert start(start_from="scratch") is None
    assert not (home / "starts").exists()


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"encoder_options": {"hidden": 9, "features": 4}}, r"'mlp' \{.*\"hidden\": 9"),
        ({"encoder": "resnet_small", "encoder_options": {}}, r"'resnet_small' \{"),
        ({"size": 16}, r"'mlp' .* for inputs of the shape .1, 16, 16."),
    ],
)
def test_a_champion_with_another_encoder_is_refused_naming_both(home, changes, wanted):
    with pytest.raises(SpecError) as caught:
        start(**changes)
    assert caught.match(
        rf"^training.start_from: wanted a champion with encoder {wanted}.*, but models:/shoes/1 has "
        r"'mlp' \{.*\"hidden\": 8.*\}.*; set training.encoder and encoder_options to the champion's, or start from"
    )
    assert start() is not None, "and nothing of it is remembered"


@pytest.mark.parametrize("loss", ["a byte", "the folder"])
def test_weights_that_were_lost_are_fetched_again_from_the_same_version(home, loss):
    first = start()
    store_at(home).promote(NAME, 2, "newer")
    file = first.path / "weights.safetensors"
    if loss == "a byte":
        file.write_bytes(file.read_bytes()[:-1] + b"!")
    else:
        shutil.rmtree(first.path)
    assert start() == first
    assert file_sha256(file) == first.sha256


def test_killed_before_the_answer_is_kept_it_is_decided_anew(home, monkeypatch):
    with monkeypatch.context() as patch:
        original = initial_weights.artifact_dir.write_text

        def killed(path, text):
            if path.suffix == ".json" and path.parent.name == "initial_weights":
                raise KeyboardInterrupt
            original(path, text)

        patch.setattr(initial_weights.artifact_dir, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            start()
    store_at(home).promote(NAME, 2, "in between")
    assert start().champion == "models:/shoes/2"


def test_a_champion_that_keeps_no_weights_is_refused_with_what_it_has(home):
    with connected(f"sqlite:///{home}/mlflow.db") as client:
        theirs = client.create_model_version(NAME, (home / "elsewhere").as_uri())
    store_at(home).promote(NAME, int(theirs.version), "made elsewhere")
    with pytest.raises(InputError, match=r"the run of models:/shoes/3 has no file weights.safetensors \(it has: no"):
        start()


def test_without_the_name_of_a_model_there_is_no_champion():
    with pytest.raises(SpecError, match=r"^training.start_from: 'champion' .* use `cl register` or `cl retrain`"):
        initial_weights.check_start_from(TRAINING, "")


# --- towers, which start from models of their kind

TOWERS = TrainingSpec(
    method="clip",
    encoder="two_towers",
    encoder_options={
        "image": {"name": "mlp", "options": {"hidden": 8, "features": 4}},
        "text": {"name": "bag", "options": {"features": 6}},
        "width": 5,
    },
)
PAIRS = ImageTexts(size=SIZE, length=32, buckets=50)
WORDS = ["a red cat", "a red dog", "a cat and a dog"]


def sentences() -> EmbeddingModel:
    """A model of texts with words of its own."""
    processor = Texts(length=32, buckets=50, least_texts=1).fit_processor(split_of_texts(WORDS, 32), {})
    encoder = assemble(TrainingSpec(encoder="bag", encoder_options={"features": 6})).encoder
    torch.manual_seed(7)
    return EmbeddingModel(processor, encoder.build_for(processor))


@pytest.fixture(scope="module")
def registered_sentences(registered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of a model of texts beside them."""
    home = tmp_path_factory.mktemp("sentences")
    shutil.copy(registered / "mlflow.db", home)
    training = assemble(TrainingSpec(encoder="bag", encoder_options={"features": 6}, views="word_noise")).spec
    takes = ModelInput(modality="text", shapes=((32,),))
    changes = {"name": "sentences", "build_model": sentences, "takes": takes, "specs": {"training": training}}
    store_at(home).register(dataclasses.replace(registration(3), **changes))
    return home


@pytest.fixture
def with_sentences(registered_sentences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return home_with(registered_sentences, tmp_path, monkeypatch)


def start_towers(towers: dict[str, str], request: str = "d" * 64, **changes: object) -> InitialWeightsRef | None:
    given = [f"{side}={model}" for side, model in towers.items()]
    training = TrainingSpec.model_validate({**TOWERS.model_dump(), "start_towers": given, **changes})
    arrays = PAIRS.array_specs({"channels": CHANNELS})
    fitted = PAIRS.example_processor(arrays).state_dict()
    with disable_run_logger():
        return initial_weights.find_initial_weights(
            assemble(training),
            model_name="pairs",
            request=request,
            continued=lambda champion: PAIRS.continued_processor(arrays, champion, fitted),
        )


def test_each_tower_starts_from_a_model_of_its_kind_and_a_text_tower_knows_its_words(with_sentences, capsys):
    found = start_towers({"text": "sentences/1", "image": f"{NAME}@champion"})
    assert found.champion == f"models:/{NAME}/1 (image) and models:/sentences/1 (text)"
    assert f"training starts from the weights of {found.champion}\n" in capsys.readouterr().err
    arrays, parts = PAIRS.array_specs({"channels": CHANNELS}), assemble(TOWERS)
    fitted = PAIRS.example_processor(arrays).state_dict()
    processor = PAIRS.continued_processor(arrays, state_of("processor", found.path / "weights.safetensors"), fitted)
    assert torch.equal(processor.side(1).vocabulary, sentences().processor.vocabulary)
    torch.manual_seed(0)
    fresh = parts.encoder.build_for(processor)
    encoder = copy.deepcopy(fresh)
    load_initial_weights(encoder, found.path)
    theirs = sentences().encoder.state_dict()
    assert all(torch.equal(encoder.tower(1).encoder.state_dict()[name], theirs[name]) for name in theirs)
    torch.manual_seed(1)
    of_images = assemble(TRAINING).encoder.build((CHANNELS, SIZE, SIZE)).state_dict()
    assert all(torch.equal(encoder.tower(0).encoder.state_dict()[name], of_images[name]) for name in of_images)
    for side in (0, 1):  # The layers behind are fresh.
        assert torch.equal(encoder.tower(side).projection.weight, fresh.tower(side).projection.weight)
    assert start_towers({"text": "sentences/1"}, "e" * 64).sha256 != found.sha256


def test_towers_keep_their_first_weights_and_lost_ones_are_fetched_again(with_sentences):
    first = start_towers({"text": "sentences/1"})
    before = (first.path / "weights.safetensors").read_bytes()
    shutil.rmtree(first.path)
    assert start_towers({"text": "sentences/1"}) == first
    assert (first.path / "weights.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("towers", "sentence"),
    [
        ({"text": f"{NAME}/1"}, r"start_towers.text: wanted a model of texts, but models:/shoes/1 takes grayscale im"),
        ({"image": "sentences/1"}, r"start_towers.image: wanted a model of images, but models:/sentences/1 takes tex"),
        ({"text": "unknown/1"}, "unknown"),
    ],
)
def test_models_of_another_kind_are_refused(with_sentences, towers, sentence):
    with pytest.raises(InputError, match=sentence):
        start_towers(towers)


def test_models_with_another_encoder_are_refused(with_sentences):
    other = {"encoder_options": {**TOWERS.encoder_options, "text": {"name": "bag", "options": {"features": 9}}}}
    with pytest.raises(SpecError, match=r"start_towers.text: wanted a model with encoder 'bag' .*\"features\": 9"):
        start_towers({"text": "sentences/1"}, **other)
    with pytest.raises(ValidationError, match="start_from 'champion' takes both towers from the champion"):
        TrainingSpec(start_from="champion", start_towers=["text=sentences/1"])
    for wrong in (["text"], ["text="], ["text=a/1", "text=b/2"]):
        with pytest.raises(ValidationError, match="each tower once, and its model, such as text=sentences@champion"):
            TrainingSpec(start_towers=wrong)
