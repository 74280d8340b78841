"""Where things are kept follows from the environment alone, and using MLflow does not change it."""

import os
from pathlib import Path

import pytest

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
