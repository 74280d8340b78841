"""What MLflow knows of a version: what it came from, whom it followed, and where its pages are."""

import shlex
from pathlib import Path

import pytest
from registering import NAME, copy_home, evaluation, gains, registration, store_at
from servers import serving

from cl_core.errors import InputError
from cl_core.refs import ModelRef
from cl_core.specs import PromotionSpec
from tasks.adapters.mlflow.model_store import ModelStore
from tasks.adapters.mlflow.version_record import VersionRecord, version_links, version_record


@pytest.fixture
def store(full_home: Path, tmp_path: Path) -> ModelStore:
    """A store with three versions and no champion."""
    copy_home(full_home, tmp_path)
    return store_at(tmp_path)


def record(store: ModelStore, version: str) -> VersionRecord:
    return version_record(store.tracking_uri, store.work, NAME, version)


def test_digests_specs_and_other_versions_of_the_same_snapshot_are_found(store: ModelStore) -> None:
    found = record(store, "2")
    assert found.tags["snapshot_digest"] == "5" * 64
    assert found.model.training_digest == "2" * 64
    assert found.specs["training"]["method"] == "simclr"
    assert found.same_snapshot == [f"{NAME}/1", f"{NAME}/3"]
    assert found.same_training == []
    assert found.decision == ""


@pytest.mark.slow_unit(reason="several changes of champion in a real MLflow store")
def test_champions_know_whom_they_followed_and_who_followed_them(store: ModelStore) -> None:
    store.decide(NAME, 1, PromotionSpec(), evaluation(), gains())
    store.promote(NAME, 3, "wanted")
    first, second, third = (record(store, version) for version in ("1", "2", "@champion"))
    assert (first.replaced, first.replaced_by) == ([], [3])
    assert second.model.version not in second.champions
    assert (third.model.version, third.replaced, third.replaced_by) == (3, [1], [])
    assert "champion" in third.aliases
    store.rollback(NAME, "it was worse")
    gone = record(store, "3")
    assert gone.rolled_back == [3] and 3 not in gone.champions
    assert "it was worse" in gone.decision


@pytest.mark.parametrize(
    ("name", "version", "sentence"),
    [
        ("unheard", "1", f"there are: {NAME}"),
        (NAME, "9", "has no version 9; there are: 1, 2, 3"),
        (NAME, "@champion", "has no alias 'champion'; there are: challenger"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(
    store: ModelStore, name: str, version: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        version_record(store.tracking_uri, store.work, name, version)


def test_a_database_has_no_pages_but_a_command_that_shows_it(store: ModelStore) -> None:
    links = version_links(store.tracking_uri, record(store, "1").model, Path("/reports/version-1-abc.html"))
    assert links["To look at it"] == f"mlflow ui --backend-store-uri {store.tracking_uri}"
    assert links["Report"] == "/reports/version-1-abc.html"
    assert "http" not in str(links)


def test_that_command_can_be_copied_into_a_shell(store: ModelStore) -> None:
    address = "sqlite:////home/a folder [1] & more/mlflow.db"
    command = version_links(address, record(store, "1").model, Path("/reports/version-1-abc.html"))["To look at it"]
    assert shlex.split(command) == ["mlflow", "ui", "--backend-store-uri", address]


@pytest.mark.integration
def test_a_server_has_a_page_for_the_run_the_version_and_the_report_and_no_password_in_them(home: Path) -> None:
    with serving(home) as (address, _):
        model: ModelRef = ModelStore(address, None, home / "work").register(registration())
        with_password = address.replace("http://", "http://anna:hunter2@")
        links = version_links(with_password, model, Path("/reports/version-1-abc.html"))
    run = f"{address}/#/experiments/1/runs/{model.run_id}"
    assert links == {
        "MLflow run": run,
        "Model version": f"{address}/#/models/{NAME}/versions/1",
        "Report": f"{run}/artifacts/version-1-abc.html",
        "Report on this machine": "/reports/version-1-abc.html",
    }
