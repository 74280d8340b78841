"""What versions were made from, why they are kept, and which of their inputs were pruned."""

import pytest
from registering import NAME, copy_home, store_at

from cl_core.errors import InputError
from cl_core.retention.policy import BrokenLineage
from tasks.adapters.mlflow.connection import connected
from tasks.adapters.mlflow.model_version import LOST
from tasks.adapters.mlflow.version_inputs import record_broken_lineage, registered_versions
from tasks.pruning import check_store
from tasks.runtime.settings import Settings


@pytest.fixture
def store(full_home, tmp_path):
    """A store with three versions and no champion."""
    copy_home(full_home, tmp_path)
    return store_at(tmp_path)


def held_by(store):
    return {version.version: version.held_by for version in registered_versions(store.tracking_uri)}


def test_versions_say_what_they_were_made_from(store):
    by_number = {version.version: version for version in registered_versions(store.tracking_uri)}
    assert by_number.keys() == {1, 2, 3}
    assert (by_number[2].name, by_number[2].training, by_number[2].snapshot) == (NAME, "2" * 64, "5" * 64)


def test_aliases_of_any_name_and_the_next_rollback_speak_for_a_version(store):
    assert held_by(store) == {1: [], 2: [], 3: ["challenger"]}
    store.promote(NAME, 1, "first")
    store.promote(NAME, 2, "second")
    with connected(store.tracking_uri) as client:
        client.set_registered_model_alias(NAME, "shadow", "2")
    assert held_by(store) == {1: ["for a rollback"], 2: ["champion", "shadow"], 3: ["challenger"]}
    store.rollback(NAME)
    assert held_by(store)[1] == ["champion"]


def test_a_promotion_that_was_killed_half_way_speaks_for_the_champion_to_be(store):
    store.promote(NAME, 1, "first")
    with connected(store.tracking_uri) as client:
        tag = client.get_registered_model(NAME).tags["counterpoint.champions"]
        client.set_registered_model_tag(NAME, "counterpoint.champions", half_way(tag))
    before = held_by(store)
    assert before[2] == ["champion to be"]
    assert held_by(store) == before, "looking changes nothing"


def half_way(tag: str) -> str:
    from cl_core.refs import Decision
    from tasks.adapters.mlflow.champion_history import ChampionHistory

    decision = Decision(name=NAME, version=2, champion=2, promoted=True, reason="it is better")
    return ChampionHistory.model_validate_json(tag).with_promotion(decision).model_dump_json()


def test_a_search_that_comes_in_pages_misses_no_version(store, monkeypatch):
    from mlflow import MlflowClient

    search = MlflowClient.search_model_versions
    monkeypatch.setattr(MlflowClient, "search_model_versions", lambda *a, **named: search(*a, **named, max_results=1))
    assert held_by(store).keys() == {1, 2, 3}


def test_a_version_names_what_it_has_lost_once_and_keeps_what_it_lost_before(store):
    for lost in ({"training": "7" * 64}, {"snapshot": "5" * 64}, {"training": "7" * 64}):
        record_broken_lineage(store.tracking_uri, [BrokenLineage(name=NAME, version=1, **lost)])
    with connected(store.tracking_uri) as client:
        tag = client.get_model_version(NAME, "1").tags[LOST]
        assert LOST not in client.get_model_version(NAME, "2").tags
    first, second = tag.splitlines()
    assert "its checkpoint (training 777777777777) is removed" in first
    assert "its training data snapshot 555555555555 is removed" in second


def test_another_mlflow_than_that_of_the_reports_is_refused(store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////elsewhere.db")
    page = tmp_path / "reports" / "boots" / "version-1-0123456789ab.html"
    page.parent.mkdir(parents=True)
    page.write_text("")
    with pytest.raises(InputError, match=r"sqlite:////elsewhere.db has no version of boots.*MLFLOW_TRACKING_URI"):
        check_store(Settings(home=tmp_path), registered_versions(store.tracking_uri))
