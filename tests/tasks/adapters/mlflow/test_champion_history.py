import json
from pathlib import Path

import pytest
from registering import NAME, copy_home, evaluation, gain, gains, store_at

from cl_core.errors import InputError
from cl_core.report.reasons import decision_sentence
from cl_core.specs import PromotionSpec
from tasks.adapters.mlflow.champion_history import ChampionHistory
from tasks.adapters.mlflow.connection import connected


@pytest.fixture
def store(full_home, tmp_path):
    """A store with three versions and no champion."""
    copy_home(full_home, tmp_path)
    return store_at(tmp_path)


def champion(store):
    found = store.champion(NAME)
    return found.version if found else 0


def error(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return caught.value


def test_before_the_first_promotion_there_is_no_champion(store):
    assert store.champion(NAME) is None
    assert store.champion("never heard of") is None


def test_the_gate_promotes_and_leaves_its_reason_as_tag_and_artifact(store, tmp_path):
    decision = store.decide(NAME, 1, PromotionSpec(), evaluation(), gains())
    assert decision.promoted and decision.champion == 1 == champion(store)
    assert store.versions(NAME)[-1].reason == decision_sentence(decision)
    with connected(store.tracking_uri) as client:
        run_id = store.champion(NAME).run_id
        kept = Path(client.download_artifacts(run_id, "decision.json", str(tmp_path))).read_text()
        text = Path(client.download_artifacts(run_id, "decision.md", str(tmp_path))).read_text()
    assert json.loads(kept) == decision.model_dump()
    assert decision_sentence(decision) in text


def test_a_refused_challenger_leaves_the_champion_and_a_reason(store):
    store.promote(NAME, 1, "first")
    unproven = gains(champion=1).model_copy(update={"over_champion": gain(-0.01)})
    decision = store.decide(NAME, 2, PromotionSpec(), evaluation(), unproven)
    assert not decision.promoted and decision.champion == 1 == champion(store)
    assert decision.gain == unproven.over_champion
    assert "version 2 is not promoted" in store.versions(NAME)[1].reason


def test_the_champion_itself_is_not_judged_again(store):
    store.promote(NAME, 1, "first")
    decision = store.decide(NAME, 1, PromotionSpec(), evaluation(), gains())
    assert decision.promoted and decision.reason.code == "already_champion"
    already = "version 1 is the champion already (version 1 is promoted by hand: first)"
    assert decision_sentence(decision) == already == decision_sentence(store.promote(NAME, 1, "again"))


def test_a_comparison_with_a_former_champion_decides_nothing(store):
    store.promote(NAME, 1, "first")
    store.promote(NAME, 2, "second")
    decision = store.decide(NAME, 3, PromotionSpec(), evaluation(), gains(champion=1))
    assert not decision.promoted and champion(store) == 2
    assert "compared with version 1, and by now there is version 2" in decision_sentence(decision)
    # What happens to the champion later changes no reason.
    store.rollback(NAME)
    found = store.last_decision(store.find(NAME, 3))
    assert found.champion == 1 and decision_sentence(found) == store.versions(NAME)[0].reason


@pytest.mark.slow_unit(reason="three promotions and three rollbacks in a real MLflow store")
def test_rolling_back_goes_to_the_champion_before_and_further_each_time(store):
    for version in (1, 3, 2):
        store.promote(NAME, version, "wanted")
    assert [store.rollback(NAME).champion for _ in range(2)] == [3, 1]
    assert champion(store) == 1
    message = str(error(store.rollback, NAME))
    assert "no earlier champion to roll back to (now: version 1)" in message and "`cl promote shoes VERSION`" in message


@pytest.mark.slow_unit(reason="several changes of champion in a real MLflow store")
def test_what_a_person_rolled_back_the_gate_never_promotes_but_a_person_may(store):
    store.promote(NAME, 1, "first")
    store.promote(NAME, 2, "second")
    decision = store.rollback(NAME, "wrong colors")
    sentence = decision_sentence(decision)
    assert sentence == "version 2 is rolled back, version 1 is the champion again: wrong colors"
    assert [row.reason for row in store.versions(NAME)[1:]] == [sentence] * 2
    refused = store.decide(NAME, 2, PromotionSpec(), evaluation(), gains(champion=1))
    assert not refused.promoted and "a person rolled it back" in decision_sentence(refused)
    assert store.promote(NAME, 2, "colors fixed").champion == 2 == champion(store)
    assert store.rollback(NAME).champion == 1


@pytest.mark.slow_unit(reason="several changes of champion in a real MLflow store")
def test_the_last_decision_is_read_back_with_the_champion_of_the_moment(store):
    first, second, _ = (store.of_training(NAME, f"{digit}" * 64) for digit in (1, 2, 3))
    assert store.last_decision(first) is None
    promoted = store.decide(NAME, 1, PromotionSpec(), evaluation(), gains())
    assert store.last_decision(first) == promoted
    store.promote(NAME, 2, "brighter")
    assert store.last_decision(first) == promoted.model_copy(update={"champion": 2})
    rolled_back = store.rollback(NAME, "too bright")
    assert store.last_decision(first) == store.last_decision(second) == rolled_back
    assert rolled_back.champion == 1


def test_a_champion_set_in_mlflow_itself_is_respected(store):
    store.promote(NAME, 1, "first")
    with connected(store.tracking_uri) as client:
        client.set_registered_model_alias(NAME, "champion", "3")
    assert store.decide(NAME, 2, PromotionSpec(), evaluation(), gains(champion=1)).champion == 3
    assert store.rollback(NAME).champion == 1


def test_a_deleted_version_is_passed_over_when_rolling_back(store):
    for version in (1, 2, 3):
        store.promote(NAME, version, "wanted")
    with connected(store.tracking_uri) as client:
        client.delete_model_version(NAME, "2")
    assert store.rollback(NAME).champion == 1


def test_unknown_names_and_versions_are_answered_with_those_there_are(store):
    assert "there are: shoes" in str(error(store.versions, "boots"))
    assert "there are: shoes" in str(error(store.rollback, "it's"))
    assert "no version 9; there are: 1, 2, 3" in str(error(store.promote, NAME, 9, "why not"))
    assert store.names() == [NAME]


def test_a_history_written_by_0_1_0_is_read_and_written_with_the_new_names(store):
    pending = {"name": NAME, "version": 3, "champion": 1, "promoted": False, "reason": "it was worse"}
    old = {
        "champions": [1],
        "withdrawn": [2, 3],
        "pending": {"kind": "rollback", "decision": pending, "concerned": [3, 1]},
    }
    with connected(store.tracking_uri) as client:
        client.set_registered_model_tag(NAME, "counterpoint.champions", json.dumps(old))
    finished = store.rollback(NAME)
    assert decision_sentence(finished) == "it was worse", "the rollback of the old release is finished"
    assert {row.reason for row in store.versions(NAME) if row.version != 2} == {"it was worse"}
    assert champion(store) == 1
    with connected(store.tracking_uri) as client:
        tag = client.get_registered_model(NAME).tags["counterpoint.champions"]
    assert json.loads(tag) == {"champions": [1], "rolled_back": [2, 3], "pending": None}
    assert ChampionHistory.model_validate_json(tag).champion == 1
