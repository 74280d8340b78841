"""A registered model is retrained on the data it was trained on; other data is refused with both named."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from registering import CHANNELS, NAME, SIZE, copy_home, registration, store_at

from cl_core.errors import InputError
from cl_core.modalities import ArraySpec, Specs
from cl_core.modalities._model_input import ModelInput
from cl_core.specs import DataSpec
from tasks.adapters.mlflow.connection import connected
from tasks.adapters.mlflow.model_version import DATA_NAME, INPUT, TRAINING_DIGEST, RegisteredData
from tasks.registered_data import check_registered_data

VALUE_RANGE = "counterpoint.value_range"
SHOES = DataSpec(name="shoe-photos", source="image_folder", image_size=SIZE)
EMOJI = DataSpec(name="emoji", source="image_folder", image_size=28)


def images(size: int, channels: int) -> Specs:
    return (ArraySpec("uint8", (size, size, channels)),)


@pytest.fixture
def home(full_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with three versions on shoes, and no champion."""
    copy_home(full_home, tmp_path)
    monkeypatch.setenv("CL_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def tag(home: Path, version: int, **tags: str) -> None:
    with connected(store_at(home).tracking_uri) as client:
        for name, value in tags.items():
            client.set_model_version_tag(
                NAME,
                str(version),
                {"name": DATA_NAME, "input": INPUT, "value_range": VALUE_RANGE}[name],
                value,
            )


def untag(home: Path, *names: str) -> None:
    with connected(store_at(home).tracking_uri) as client:
        for version in ("1", "2", "3"):
            for name in names:
                client.delete_model_version_tag(NAME, version, name)


def test_a_version_records_the_name_of_its_data_and_what_its_encoder_takes() -> None:
    tags = registration().tags
    assert (tags[DATA_NAME], tags[INPUT]) == ("shoe-photos", "8 x 8 x 1")
    assert RegisteredData.from_tags(tags) == RegisteredData(name="shoe-photos", takes=ModelInput(shape=(8, 8, 1)))


def test_the_same_data_is_accepted_and_what_differs_is_refused_with_both(home: Path) -> None:
    check_registered_data(SHOES, NAME)
    check_registered_data(SHOES, NAME, arrays=images(SIZE, CHANNELS))
    larger = SHOES.model_copy(update={"image_size": 32})
    for data, arrays, asked in (
        (EMOJI, None, "'emoji', images of 28 x 28 pixels"),
        (SHOES.model_copy(update={"name": "boots"}), None, "'boots', images of 8 x 8 pixels"),
        (larger, None, "'shoe-photos', images of 32 x 32 pixels"),
        (SHOES, images(8, 3), "'shoe-photos', color images of 8 x 8 pixels"),
    ):
        sentence = (
            f"data: 'shoes' was trained on other data (models:/shoes/3 on 'shoe-photos', grayscale images of 8 x 8 "
            f"pixels) than this run asks for ({asked}); correct data.name or the options of the data, choose another "
            "model_name, or set allow_new_data (--allow-new-data) to retrain this model on the new data"
        )
        with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
            check_registered_data(data, NAME, arrays=arrays)


def test_a_new_model_takes_any_data_and_without_a_model_mlflow_is_not_asked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_registered_data(EMOJI, "emoji")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    check_registered_data(EMOJI, "")


def test_the_data_of_the_champion_and_of_the_newest_version_are_both_accepted(home: Path) -> None:
    store_at(home).promote(NAME, 1, "to begin with")
    tag(home, 3, name="emoji", input="28 x 28 x 3")
    check_registered_data(SHOES, NAME, arrays=images(8, 1))
    check_registered_data(EMOJI, NAME, arrays=images(28, 3))
    trained_on = (
        "models:/shoes/1 on 'shoe-photos', grayscale images of 8 x 8 pixels and models:/shoes/3 on 'emoji', color "
        "images of 28 x 28 pixels"
    )
    with pytest.raises(InputError, match=trained_on):
        check_registered_data(EMOJI, NAME, arrays=images(28, 1))


def test_of_a_version_of_0_1_0_the_run_and_the_signature_say_what_it_was_trained_on(home: Path) -> None:
    untag(home, DATA_NAME, INPUT)
    check_registered_data(SHOES, NAME, arrays=images(SIZE, CHANNELS))
    with pytest.raises(InputError, match=r"models:/shoes/3 on 'shoe-photos', grayscale images of 8 x 8 pixels"):
        check_registered_data(EMOJI, NAME, arrays=images(28, 3))


def test_versions_of_another_program_are_passed_over(home: Path) -> None:
    untag(home, DATA_NAME, TRAINING_DIGEST)
    check_registered_data(EMOJI, NAME, arrays=images(28, 3))


def test_a_range_of_values_is_recorded_and_another_one_is_refused(home: Path) -> None:
    takes = ModelInput(shape=(SIZE, SIZE, CHANNELS), hidden={"value_range": [0.0, 4095.0]})
    tags = replace(registration(), takes=takes).tags
    assert tags[VALUE_RANGE] == "[0.0, 4095.0]" and VALUE_RANGE not in registration().tags
    assert RegisteredData.from_tags(tags).takes == takes
    sensor = SHOES.model_copy(update={"value_range": (0.0, 4095.0)})
    with pytest.raises(
        InputError, match=r"'shoe-photos', images of 8 x 8 pixels, with values 0 to 4,095 as black to white\); "
    ):
        check_registered_data(sensor, NAME)
    tag(home, 3, value_range="[0.0, 4095.0]")
    check_registered_data(sensor, NAME)
    assert store_at(home).registered_data(NAME)[f"models:/{NAME}/3"].takes == takes
    with pytest.raises(InputError, match=r"of 8 x 8 pixels, with values 0 to 4,095 as black to white\)"):
        check_registered_data(SHOES, NAME)
