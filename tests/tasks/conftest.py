"""An MLflow store of its own for each test, as a copy of an empty one: creating the tables takes seconds."""

import shutil
from pathlib import Path

import pytest
from built_once import built_once
from registering import NAME, registration, store_at


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def build(home: Path) -> None:
        assert store_at(home).champion(NAME) is None

    return built_once(tmp_path_factory, "empty-mlflow", build)


@pytest.fixture(scope="session")
def full_home(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions, and no champion."""

    def build(home: Path) -> None:
        shutil.copy(empty_home / "mlflow.db", home)
        for digit in (1, 2, 3):
            store_at(home).register(registration(digit))

    return built_once(tmp_path_factory, "full-mlflow", build)


@pytest.fixture
def home(empty_home: Path, tmp_path: Path) -> Path:
    shutil.copy(empty_home / "mlflow.db", tmp_path)
    return tmp_path
