"""A home that was moved is refused; once its locations are rewritten, everything is found at the new place."""

import os
import signal
import sqlite3
from pathlib import Path

import forked
import pytest
from moving import NAME, address, holding, small_home

from cl_core.errors import InputError
from tasks.adapters.mlflow import artifact_locations
from tasks.adapters.mlflow.artifact_locations import (
    check_not_moved,
    moved_experiments,
    proxied_experiments,
    relocate,
)
from tasks.adapters.mlflow.compat import DATASET_SOURCE, LOCATIONS
from tasks.adapters.mlflow.connection import connected
from tasks.runtime.settings import Settings


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return tmp_path / "old place"


@pytest.fixture
def moved(old: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    new = small_home(old, empty_home / "mlflow.db").rename(old.with_name("new [place] & more"))
    monkeypatch.setenv("CL_HOME", str(new))
    return new


def moved_in(home: Path) -> list[artifact_locations.Relocation]:
    return moved_experiments(address(home), home / "mlflow-artifacts")


def locations(home: Path) -> set[str]:
    with sqlite3.connect(home / "mlflow.db") as database:
        found = {row[0] for table, column in LOCATIONS for row in database.execute(f"SELECT {column} FROM {table}")}
    database.close()
    return {one for one in found if not one.startswith("models:/")}


def download(home: Path) -> str:
    """Return a file of the version's run."""
    with connected(address(home)) as client:
        version = client.get_model_version(NAME, "1")
        return Path(client.download_artifacts(version.run_id, "spec.json")).read_text()


def test_a_moved_home_is_refused_with_both_places_and_nothing_is_made_at_the_old_one(moved: Path, old: Path) -> None:
    with pytest.raises(InputError) as refused, connected(address(moved)):
        pass
    assert str(refused.value) == (
        f"CL_HOME has moved: MLflow's artifacts are recorded under {old}/mlflow-artifacts, and CL_HOME is {moved}; "
        "stop `cl up` if it runs, and rewrite their locations with `cl doctor --fix`, or move the folder back"
    )
    assert not old.exists()


def test_once_rewritten_no_column_names_the_old_place_and_files_are_found(moved: Path, old: Path) -> None:
    assert holding(moved, old.as_uri()) >= {DATASET_SOURCE, *LOCATIONS} - {("model_versions", "source")}
    relocate(address(moved), moved_in(moved), moved / "backups")
    assert holding(moved, str(old)) | holding(moved, old.as_uri()) == set()
    assert download(moved) == "spec.json"
    assert not old.exists()


def test_before_anything_is_rewritten_the_whole_database_is_copied(moved: Path, old: Path) -> None:
    before = holding(moved, old.as_uri())
    relocate(address(moved), moved_in(moved), moved / "backups")
    [backup] = (moved / "backups").iterdir()
    assert holding(backup, old.as_uri()) == before
    relocate(address(backup), [], moved / "backups")  # It can be opened and changed.


def test_only_what_lies_in_the_old_home_is_rewritten(moved: Path, old: Path) -> None:
    others = {"s3://bucket/mlflow-artifacts", f"{old.as_uri()}/mlflow-artifacts-of-others/7", str(old / "mlruns" / "0")}
    with sqlite3.connect(moved / "mlflow.db") as database:
        for number, other in enumerate(others):
            database.execute(
                "INSERT INTO experiments (name, artifact_location, lifecycle_stage, workspace) VALUES (?, ?, ?, ?)",
                (f"other {number}", other, "active", "default"),
            )
    database.close()
    [shoes] = moved_in(moved)
    relocate(address(moved), [shoes], moved / "backups")
    default = {one for one in locations(moved) if one.endswith("/mlruns/0")} - others
    here = (moved / "mlflow-artifacts" / NAME).as_uri()
    assert {one for one in locations(moved) if not one.startswith(here)} == others | default
    assert len(default) == 1, "MLflow's own experiment, of the folder in which its tables were made"


def test_plain_paths_as_the_server_of_cl_up_records_them_stay_plain(old: Path, empty_home: Path) -> None:
    small_home(old, empty_home / "mlflow.db", str(old / "mlflow-artifacts" / NAME))
    new = old.rename(old.with_name("new"))
    relocate(address(new), moved_in(new), new / "backups")
    here = [one for one in locations(new) if "mlruns" not in one]
    assert len(here) == 3 and all(one.startswith(f"{new}/mlflow-artifacts/{NAME}") for one in here)


def test_a_link_to_the_home_has_not_moved_it(moved: Path, old: Path) -> None:
    old.symlink_to(moved)
    assert moved_in(moved) == []


def test_a_database_outside_the_home_and_a_server_are_not_looked_at(moved: Path, tmp_path: Path) -> None:
    for other in (address(tmp_path), "http://127.0.0.1:9"):
        check_not_moved(Settings.from_environment(), other)
    assert not (tmp_path / "mlflow.db").exists()


def test_the_database_of_the_home_is_known_by_any_of_its_paths(
    moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CL_HOME", str(moved))
    (tmp_path / "linked").symlink_to(moved)
    for path in (moved, moved / ".." / moved.name, tmp_path / "linked"):
        with pytest.raises(InputError, match="CL_HOME has moved"):
            check_not_moved(Settings.from_environment(), address(path))


def test_artifacts_that_were_left_behind_are_stranded_and_moved_ones_are_not(moved: Path, old: Path) -> None:
    old.mkdir()
    (moved / "mlflow-artifacts").rename(old / "mlflow-artifacts")
    assert [one.is_stranded for one in moved_in(moved)] == [True]
    (old / "mlflow-artifacts").rename(moved / "mlflow-artifacts")
    assert [one.is_stranded for one in moved_in(moved)] == [False]


def test_artifacts_that_only_a_server_reaches_become_files_where_they_lie_in_this_home(
    old: Path, empty_home: Path
) -> None:
    home = small_home(old, empty_home / "mlflow.db", f"mlflow-artifacts:/{NAME}")
    assert moved_in(home) == []
    with pytest.raises(InputError, match="can be loaded only through the MLflow server of `cl up`; start `cl up`, or "):
        download(home)
    relocate(address(home), proxied_experiments(address(home), home / "mlflow-artifacts"), home / "backups")
    assert download(home) == "spec.json"
    assert holding(home, "mlflow-artifacts:/") == set()
    assert proxied_experiments(address(home), home / "elsewhere") == []


def killed_before_change(home: Path, fatal: int) -> None:
    """Rewrite the locations; a SIGKILL ends the process just before its n-th change."""
    replace, made = artifact_locations._replace, []

    def counted(*change: object) -> None:
        made.append(change)
        if len(made) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*change)  # type: ignore[arg-type]

    artifact_locations._replace = counted  # type: ignore[assignment]
    relocate(address(home), moved_in(home), home / "backups")


@pytest.mark.integration
@pytest.mark.parametrize("change", [1, 4, 6])
def test_killed_on_the_way_nothing_is_rewritten_and_the_next_time_everything_is(
    moved: Path, old: Path, change: int
) -> None:
    before = locations(moved)
    process = forked.start(killed_before_change, moved, change)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert locations(moved) == before
    relocate(address(moved), moved_in(moved), moved / "backups")
    assert holding(moved, old.as_uri()) == set()
