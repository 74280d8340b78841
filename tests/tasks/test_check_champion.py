"""Images that the champion does not take are refused before the training, not after it."""

import shutil
from pathlib import Path

import pytest
from prefect.logging import disable_run_logger
from registering import CHANNELS, NAME, SIZE, store_at
from small_training import JobOf

from cl_core.errors import InputError
from cl_core.training.job import TrainingJob
from tasks.evaluation import check_champion


@pytest.fixture
def home(full_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three versions for small grayscale images, of which the first is the champion."""
    shutil.copy(full_home / "mlflow.db", tmp_path)
    monkeypatch.setenv("CL_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store_at(tmp_path).promote(NAME, 1, "to begin with")
    return tmp_path


@pytest.fixture
def checked(job_of: JobOf, capsys: pytest.CaptureFixture[str]):
    def check(
        *,
        size: int = SIZE,
        channels: int = CHANNELS,
        digest: str = "a" * 64,
        name: str = NAME,
        value_range: tuple[float, float] | None = None,
    ) -> str:
        job: TrainingJob = job_of()
        data = job.data.model_copy(update={"image_size": size})
        snapshot = job.snapshot.model_copy(update={"channels": channels, "value_range": value_range})
        with disable_run_logger():
            check_champion.fn(name, job.model_copy(update={"data": data, "snapshot": snapshot, "digest": digest}))
        return capsys.readouterr().err.strip()

    return check


def test_images_of_another_size_or_kind_are_refused_with_both_and_what_to_do(home: Path, checked) -> None:
    ways_out = (
        "choose another model_name, or register without a comparison with `cl register` and promote with `cl promote`"
    )
    with pytest.raises(InputError) as caught:
        checked(size=16)
    assert str(caught.value) == (
        "model_name: models:/shoes/1, the champion, takes grayscale images of 8 x 8 pixels, and cannot be "
        f"compared on this run's grayscale images of 16 x 16; set data.image_size to 8, {ways_out}"
    )
    with pytest.raises(InputError, match=r"this run's color images of 8 x 8; use data like its training data, choose"):
        checked(channels=3)


def test_images_of_another_range_of_values_are_refused(home: Path, checked) -> None:
    wanted = (
        r"champion, takes the full range of values as black to white, and cannot be compared on this run's images of "
        r"values 0 to 4,095; set data.value_range to null, choose another model_name"
    )
    with pytest.raises(InputError, match=wanted):
        checked(value_range=(0, 4095))


def test_what_the_champion_takes_is_accepted(home: Path, checked) -> None:
    assert checked() == ""


def test_without_a_champion_or_for_its_own_training_any_images_are_accepted(home: Path, checked) -> None:
    assert checked(size=16, name="boots") == ""
    own = store_at(home).champion(NAME)
    assert own is not None
    assert checked(size=16, digest=own.training_digest) == ""


def test_an_mlflow_that_does_not_answer_delays_no_training(
    home: Path, checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("CL_STORE_PAUSE_S", "0.001")
    assert checked(size=16).startswith(
        "whether the champion takes images of this run is not known yet: MLflow at http://127.0.0.1:1 does not answer"
    )
