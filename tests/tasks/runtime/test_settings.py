"""Where things are kept follows from the environment alone, and using MLflow does not change it."""

import os
from pathlib import Path

import pytest

from cl_core.errors import InputError
from tasks.adapters.mlflow.connection import connected
from tasks.runtime.settings import Settings


@pytest.mark.parametrize(
    ("address", "beside_home"),
    [("", True), ("sqlite:////srv/mlflow.db", True), ("postgresql://host/mlflow", True), ("http://host:5000", False)],
)
def test_only_a_server_decides_where_artifacts_go(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, beside_home: bool
) -> None:
    monkeypatch.setenv("CL_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert Settings.from_environment().artifact_root == (tmp_path / "mlflow-artifacts" if beside_home else None)


@pytest.mark.integration
def test_a_connection_leaves_no_setting_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("CL_HOME", str(tmp_path))
    before = Settings.from_environment().tracking_uri
    with connected(f"sqlite:///{tmp_path / 'other.db'}") as client:
        assert client.search_registered_models() == []
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert Settings.from_environment().tracking_uri == before


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = Settings.model_fields.values()
    names = [field.validation_alias for field in fields if isinstance(field.validation_alias, str)]
    assert {"CL_HOME", "CL_NOTIFY", "CL_DATA_ROOTS", "CL_RETRY_DELAY_S"} <= set(names)
    for name in names:
        monkeypatch.delenv(name, raising=False)
    unset = Settings()
    for name in names:
        monkeypatch.setenv(name, "")
    assert Settings() == unset
    assert unset.retry_delay_s == 5


def test_a_variable_of_the_name_of_a_field_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """HOME is the user's folder, not CL_HOME."""
    monkeypatch.delenv("CL_HOME", raising=False)
    unset = Settings()
    for name, field in Settings.model_fields.items():
        if field.validation_alias != name.upper():
            monkeypatch.setenv(name.upper(), "7")
    assert Settings() == unset
    assert Settings.from_environment().home == Path(".counterpoint").absolute()


def test_a_run_keeps_the_settings_that_it_began_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CL_HOME", str(tmp_path / "first"))
    Settings.begin_run("run")
    try:
        monkeypatch.setenv("CL_HOME", str(tmp_path / "second"))
        assert Settings.from_environment().home == tmp_path / "first"
    finally:
        Settings.end_run("run")
    assert Settings.from_environment().home == tmp_path / "second"


def test_a_nested_run_has_settings_of_its_own_and_leaves_those_of_the_outer_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    homes = []
    for name in ("outer", "inner", "retried"):
        monkeypatch.setenv("CL_HOME", str(tmp_path / name))
        # A flow that is retried begins again without having ended.
        Settings.begin_run("inner" if name == "retried" else name)
        homes.append(Settings.from_environment().home.name)
    for name in ("inner", "outer"):
        Settings.end_run(name)
        homes.append(Settings.from_environment().home.name)
    assert homes == ["outer", "inner", "retried", "outer", "retried"]


def test_every_setting_has_a_description_that_ends_with_its_unit() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description and field.description.endswith("."), name
        *_, unit = field.description.removesuffix(".").split(". ")
        assert len(unit.split()) <= 4, f"{name}: {field.description}"


@pytest.mark.parametrize("wrong", ["soon", "-1", "nan", "inf"])
def test_a_pause_that_is_not_a_number_of_seconds_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("CL_RETRY_DELAY_S", "0.25")
    assert Settings.from_environment().retry_delay_s == 0.25
    monkeypatch.setenv("CL_RETRY_DELAY_S", wrong)
    with pytest.raises(InputError, match=r"^CL_RETRY_DELAY_S: Input should be .*got "):
        Settings.from_environment()


def test_the_home_of_the_user_is_not_that_of_counterpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("CL_HOME", raising=False)
    assert Settings.from_environment().home == tmp_path / ".counterpoint"
