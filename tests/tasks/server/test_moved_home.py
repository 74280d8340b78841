"""What `cl doctor` says of locations that do not fit the home, and when it does not rewrite them."""

from pathlib import Path

import pytest
from filelock import FileLock
from moving import NAME, address, holding, small_home

from cl_core.errors import InputError
from flows.cli.environment import check_home
from tasks.runtime.locks import recorded_owner
from tasks.runtime.settings import Settings
from tasks.server.moved_home import check_served_home, diagnose_locations


@pytest.fixture
def moved(empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    new = small_home(tmp_path / "old", empty_home / "mlflow.db").rename(tmp_path / "new")
    monkeypatch.setenv("CL_HOME", str(new))
    return new


@pytest.fixture
def proxied(empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = small_home(tmp_path / "home", empty_home / "mlflow.db", f"mlflow-artifacts:/{NAME}")
    monkeypatch.setenv("CL_HOME", str(home))
    return home


def test_a_moved_home_is_found_and_repaired(moved: Path, tmp_path: Path) -> None:
    [found] = diagnose_locations(Settings.from_environment())
    assert found.what == f"CL_HOME has moved: MLflow's artifacts are recorded under {tmp_path}/old/mlflow-artifacts"
    assert found.repair is not None
    found.repair()
    assert list(diagnose_locations(Settings.from_environment())) == []
    assert holding(moved, f"{tmp_path}/old") == set()


def test_servers_are_not_started_over_a_moved_home(moved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"are recorded under {tmp_path}/old/mlflow-artifacts, and CL_HOME is {moved}"):
        check_served_home(Settings.from_environment())
    assert not (tmp_path / "old").exists()


def test_a_damaged_database_is_left_to_those_that_open_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CL_HOME", str(tmp_path))
    (tmp_path / "mlflow.db").write_text("not a database")
    check_served_home(Settings.from_environment())
    check_home()
    assert list(diagnose_locations(Settings.from_environment())) == []


def test_while_cl_up_runs_nothing_is_rewritten(moved: Path) -> None:
    settings = Settings.from_environment()
    [before] = diagnose_locations(settings)
    settings.work.mkdir()
    with FileLock(settings.up_lock), recorded_owner(settings.up_lock, "`cl up`"):
        [found] = diagnose_locations(settings)
        assert (found.repair, found.remedy) == (None, "stop `cl up` (`cl down`), and run `cl doctor --fix`")
        assert before.repair is not None
        with pytest.raises(InputError, match="`cl up` has started for this CL_HOME"):
            before.repair()
    assert not settings.backups.exists()


def test_artifacts_that_were_left_behind_are_not_given_up(moved: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (moved / "mlflow-artifacts").rename(tmp_path / "old" / "mlflow-artifacts")
    [found] = diagnose_locations(Settings.from_environment())
    assert found.what == f"CL_HOME has moved, but artifacts are still in {tmp_path}/old/mlflow-artifacts/{NAME}"
    assert found.repair is None and found.remedy.endswith(f"{moved}/mlflow-artifacts/{NAME}")


def test_artifacts_of_a_server_become_files_except_where_other_machines_use_it(proxied: Path) -> None:
    settings = Settings.from_environment()
    settings.work.mkdir()
    settings.mlflow_users.touch()
    assert list(diagnose_locations(settings)) == []
    settings.mlflow_users.unlink()
    [found] = diagnose_locations(settings)
    assert found.what.startswith(
        "artifacts of 1 experiments can be loaded only while the MLflow server of `cl up` runs"
    )
    assert found.repair is not None
    found.repair()
    assert holding(proxied, "mlflow-artifacts:/") == set() and list(diagnose_locations(settings)) == []


def test_a_home_without_a_database_has_nothing_to_rewrite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CL_HOME", str(tmp_path))
    assert list(diagnose_locations(Settings.from_environment())) == []
    assert list(tmp_path.iterdir()) == [], address(tmp_path)
