"""A registered model is retrained on the data it was trained on; other data is refused with both named."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from registering import CHANNELS, NAME, SIZE, registration, store_at

from cl_core.errors import InputError
from cl_core.specs import DataSpec
from tasks.adapters.mlflow.connection import connected
from tasks.adapters.mlflow.model_version import DATA_NAME, INPUT, VALUE_RANGE, RegisteredData
from tasks.registered_data import check_registered_data

SHOES = DataSpec(name="shoe-photos", source="image_folder", image_size=SIZE)
EMOJI = DataSpec(name="emoji", source="image_folder", image_size=28)


@pytest.fixture
def home(full_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with three versions on shoes, and no champion."""
    shutil.copy(full_home / "mlflow.db", tmp_path)
    monkeypatch.setenv("CL_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def tag(home: Path, version: int, **tags: str) -> None:
    with connected(store_at(home).tracking_uri) as client:
        for name, value in tags.items():
            client.set_model_version_tag(
                NAME, str(version), {"name": DATA_NAME, "input": INPUT, "value_range": VALUE_RANGE}[name], value
            )


def test_a_version_records_the_name_of_its_data_and_what_its_encoder_takes() -> None:
    tags = registration().tags
    assert (tags[DATA_NAME], tags[INPUT]) == ("shoe-photos", "8 x 8 x 1")
    assert RegisteredData.from_tags(tags) == RegisteredData(name="shoe-photos", image_size=8, channels=1)


def test_the_same_data_is_accepted_and_what_differs_is_refused_with_both(home: Path) -> None:
    check_registered_data(SHOES, NAME)
    check_registered_data(SHOES, NAME, channels=CHANNELS)
    larger = SHOES.model_copy(update={"image_size": 32})
    for data, channels, asked in (
        (EMOJI, 0, "'emoji' at 28 x 28"),
        (SHOES.model_copy(update={"name": "boots"}), 0, "'boots' at 8 x 8"),
        (larger, 0, "'shoe-photos' at 32 x 32"),
        (SHOES, 3, "'shoe-photos' at 8 x 8 x 3"),
    ):
        sentence = (
            f"data: 'shoes' was trained on other data (models:/shoes/3 on 'shoe-photos' at 8 x 8 x 1) than this run "
            f"asks for ({asked}); correct data.name or data.image_size, choose another model_name, or set "
            "allow_new_data (--allow-new-data) to retrain this model on the new data"
        )
        with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
            check_registered_data(data, NAME, channels=channels)


def test_a_new_model_takes_any_data_and_without_a_model_mlflow_is_not_asked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_registered_data(EMOJI, "emoji")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    check_registered_data(EMOJI, "")


def test_the_data_of_the_champion_and_of_the_newest_version_are_both_accepted(home: Path) -> None:
    store_at(home).promote(NAME, 1, "to begin with")
    tag(home, 3, name="emoji", input="28 x 28 x 3")
    check_registered_data(SHOES, NAME, channels=1)
    check_registered_data(EMOJI, NAME, channels=3)
    trained_on = r"models:/shoes/1 on 'shoe-photos' at 8 x 8 x 1 and models:/shoes/3 on 'emoji' at 28 x 28 x 3"
    with pytest.raises(InputError, match=trained_on):
        check_registered_data(EMOJI, NAME, channels=1)


def test_a_version_of_0_1_0_which_records_no_data_is_passed_over(home: Path) -> None:
    with connected(store_at(home).tracking_uri) as client:
        for version in ("1", "2", "3"):
            client.delete_model_version_tag(NAME, version, DATA_NAME)
    check_registered_data(EMOJI, NAME, channels=3)


def test_a_range_of_values_is_recorded_and_another_one_is_refused(home: Path) -> None:
    snapshot = registration().snapshot.model_copy(update={"value_range": (0.0, 4095.0)})
    tags = replace(registration(), snapshot=snapshot).tags
    assert tags[VALUE_RANGE] == "[0.0, 4095.0]" and VALUE_RANGE not in registration().tags
    assert RegisteredData.from_tags(tags).value_range == (0, 4095)
    sensor = SHOES.model_copy(update={"value_range": (0.0, 4095.0)})
    with pytest.raises(
        InputError, match=r"'shoe-photos' at 8 x 8 with values 0 to 4,095\); correct .*data.value_range,"
    ):
        check_registered_data(sensor, NAME)
    tag(home, 3, value_range="[0.0, 4095.0]")
    check_registered_data(sensor, NAME)
    assert store_at(home).value_range(store_at(home).find(NAME, 3)) == (0, 4095)
    assert store_at(home).value_range(store_at(home).find(NAME, 1)) is None
    with pytest.raises(InputError, match=r"on 'shoe-photos' at 8 x 8 x 1 with values 0 to 4,095\)"):
        check_registered_data(SHOES, NAME)
