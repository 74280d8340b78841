"""Each reason has one sentence, made from what is stored; what earlier versions stored is shown as it is."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from cl_core.hashing import digest_of
from cl_core.refs import ComparisonReason, Decision, DecisionReason, EvaluationReport, LeftOut, NotComparable, Score
from cl_core.report.reasons import (
    broken_lineage_sentence,
    comparison_sentence,
    decision_sentence,
    left_out_sentence,
    retention_sentence,
)
from cl_core.retention.inventory_items import InventoryItem, VersionInputs
from cl_core.retention.policy import BrokenLineage, Deleted, Kept, RetentionPlan, RetentionReason, RetentionVerdict

SCORE = "linear_probe.accuracy"
REACHED = Score(value=0.9, low=0.8875, high=0.9125)
GAIN = Score(value=0.05, low=-0.02, high=0.08)
FOREIGN = NotComparable(version=3, uri="models:/n/3", reason=ComparisonReason(code="not_one_array"))
FOREIGN_SENTENCE = (
    "models:/n/3, the champion, cannot be evaluated on these samples: models:/n/3 takes inputs without a signature, "
    "not one array; choose a model that `cl retrain` registered; promote by hand with `cl promote`, or choose another "
    "model_name"
)
BY_HAND = Decision(
    name="n",
    version=4,
    champion=4,
    promoted=True,
    reason=DecisionReason(code="promoted_by_hand", words="it [is] better"),
)

DECISIONS: list[tuple[bool, dict[str, Any], str]] = [
    (
        True,
        {"code": "better", "score": SCORE, "reached": REACHED, "gain": GAIN, "baseline": "raw_pixels"},
        (
            "version 4 is promoted: linear_probe.accuracy is 0.9000 [0.8875, 0.9125], +0.0500 [-0.0200, +0.0800] over "
            "raw pixels, and there was no champion"
        ),
    ),
    (
        True,
        {"code": "better", "score": SCORE, "reached": REACHED, "gain": GAIN, "champion": 3},
        (
            "version 4 is promoted: linear_probe.accuracy is 0.9000 [0.8875, 0.9125], +0.0500 [-0.0200, +0.0800] over "
            "the champion, version 3"
        ),
    ),
    (
        False,
        {"code": "better", "score": SCORE, "reached": REACHED, "gain": GAIN, "champion": 3},
        (
            "version 4 would be promoted: linear_probe.accuracy is 0.9000 [0.8875, 0.9125], +0.0500 [-0.0200, +0.0800] "
            "over the champion, version 3; automatic promotion is off"
        ),
    ),
    (True, {"code": "promoted_by_hand", "words": "why"}, "version 4 is promoted by hand: why"),
    (
        False,
        {"code": "rolled_back", "champion": 2, "words": "wrong colors"},
        "version 4 is rolled back, version 2 is the champion again: wrong colors",
    ),
    (True, {"code": "already_champion"}, "version 4 is the champion already"),
    (
        True,
        {"code": "already_champion", "earlier": BY_HAND},
        "version 4 is the champion already (version 4 is promoted by hand: it [is] better)",
    ),
    (
        False,
        {
            "code": "collapsed",
            "score": "geometry.effective_rank",
            "reached": Score(value=1.016, low=1, high=1.1),
            "least": 2,
        },
        "version 4 is not promoted: its embeddings have collapsed (geometry.effective_rank 1.02, at least 2 wanted)",
    ),
    (
        False,
        {"code": "collapsed", "score": "geometry.feature_std", "least": 0.001},
        "version 4 is not promoted: its embeddings have collapsed (geometry.feature_std nan, at least 0.001 wanted)",
    ),
    (
        False,
        {"code": "not_measured", "score": SCORE, "measured": ["a", "b"]},
        (
            "version 4 is not promoted: the deciding score linear_probe.accuracy was not measured (there are: a, b); "
            "without it, as with data that have no labels, only a person promotes"
        ),
    ),
    (False, {"code": "not_finite", "score": SCORE}, f"version 4 is not promoted: its {SCORE} is not a finite number"),
    (
        False,
        {"code": "not_compared", "score": SCORE, "baseline": "raw_pixels"},
        "version 4 is not promoted: it was not compared with raw pixels on linear_probe.accuracy",
    ),
    (
        False,
        {"code": "not_compared", "score": SCORE, "champion": 3, "not_comparable": FOREIGN},
        (
            "version 4 is not promoted: it was not compared with the champion, version 3, on linear_probe.accuracy: "
            f"{FOREIGN_SENTENCE}"
        ),
    ),
    (
        False,
        {"code": "not_better", "score": SCORE, "baseline": "untrained", "gain": GAIN},
        (
            "version 4 is not promoted: linear_probe.accuracy is not proven better than that of the untrained encoder: "
            "difference +0.0500 [-0.0200, +0.0800]"
        ),
    ),
    (
        False,
        {"code": "not_better", "score": SCORE, "champion": 3, "gain": GAIN},
        (
            "version 4 is not promoted: its gain in linear_probe.accuracy over the champion, version 3, is +0.0500 "
            "[-0.0200, +0.0800], but the interval must lie above 0"
        ),
    ),
    (
        False,
        {"code": "not_better", "score": SCORE, "champion": 3, "least": -0.01},
        (
            "version 4 is not promoted: its gain in linear_probe.accuracy over the champion, version 3, is not a "
            "number, but the interval must lie above -0.01"
        ),
    ),
    (
        False,
        {"code": "champion_changed", "compared": 0, "champion": 3},
        (
            "version 4 is not promoted: it was compared with no champion, and by now there is version 3; run the same "
            "command again"
        ),
    ),
    (
        False,
        {"code": "rolled_back_before"},
        "version 4 is not promoted: a person rolled it back, so only a person promotes it again",
    ),
]


def codes(*literals: Any) -> set[str]:
    return {code for literal in literals for code in get_args(literal)}


def codes_of(model: Any) -> set[str]:
    annotation = model.model_fields["code"].annotation
    return codes(*(get_args(annotation) if get_args(get_args(annotation)[0]) else [annotation]))


@pytest.mark.parametrize(("promoted", "reason", "sentence"), DECISIONS)
def test_a_decision_is_worded_from_what_is_stored(promoted: bool, reason: dict[str, Any], sentence: str) -> None:
    decision = Decision(name="n", version=4, champion=3, promoted=promoted, reason=DecisionReason(**reason))
    assert decision_sentence(decision) == sentence
    stored = Decision.model_validate_json(decision.model_dump_json())
    assert stored == decision and digest_of(stored) == digest_of(decision)
    assert sorted(json.loads(decision.model_dump_json())["reason"]) == sorted(
        name for name in reason if reason[name] != 0
    ), "only what the sentence needs"
    # What happens to the champion afterwards changes nothing.
    assert decision_sentence(stored.model_copy(update={"champion": 9})) == sentence


def test_every_code_of_a_decision_has_a_sentence_of_its_own() -> None:
    assert {reason["code"] for _, reason, _ in DECISIONS} == codes_of(DecisionReason) - {"stored"}
    assert len({sentence for *_, sentence in DECISIONS}) == len(DECISIONS)


def test_a_decision_of_an_earlier_version_is_shown_as_it_is() -> None:
    old = {"name": "n", "version": 1, "champion": 1, "promoted": True, "reason": "it was better | so", "gain": None}
    decision = Decision.model_validate_json(json.dumps(old))
    assert decision.reason == DecisionReason(code="stored", stored="it was better | so")
    assert decision_sentence(decision) == "it was better | so"
    assert Decision.model_validate_json(decision.model_dump_json()) == decision


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (
            {"code": "not_one_array", "takes": "[a, b]"},
            "models:/n/3 takes [a, b], not one array; choose a model that `cl retrain` registered",
        ),
        (
            {"code": "other_arrays", "modality": "image", "detail": "its arrays are float64"},
            (
                "models:/n/3 takes nothing that 'image' gives: its arrays are float64; choose a model that `cl "
                "retrain` registered"
            ),
        ),
        (
            {"code": "unknown_modality", "modality": "beads"},
            "models:/n/3 takes modality 'beads', which is not installed; install the package that has it",
        ),
        (
            {"code": "other_modality", "takes": "vectors of 4 values", "modality": "image"},
            "it takes vectors of 4 values, and the data are of modality 'image'",
        ),
        (
            {"code": "rejected_sample", "takes": "vectors of 4 values", "detail": "it has 5 values"},
            "a sample cannot be made into one of vectors of 4 values (it has 5 values)",
        ),
    ],
)
def test_a_champion_that_cannot_be_compared_is_worded(reason: dict[str, str], why: str) -> None:
    champion = NotComparable(version=3, uri="models:/n/3", reason=ComparisonReason(**reason))
    assert comparison_sentence(NotComparable.model_validate_json(champion.model_dump_json())) == (
        f"models:/n/3, the champion, cannot be evaluated on these samples: {why}; promote by hand with `cl promote`, "
        "or choose another model_name"
    )


def test_what_an_earlier_version_stored_of_a_comparison_is_shown_as_it_is() -> None:
    assert comparison_sentence(NotComparable(version=3, reason="it is a")) == "it is a"


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("no_labels", "knn: the data have no labels"),
        ("no_training_labels", "knn: the training split has no labels"),
        ("no_test_labels", "knn: the test split has no labels"),
    ],
)
def test_a_protocol_that_is_left_out_is_named_with_the_labels_that_it_needs(code: str, sentence: str) -> None:
    assert left_out_sentence(LeftOut(code=code, protocol="knn")) == sentence


def test_an_evaluation_of_an_earlier_version_shows_what_was_left_out_as_it_is() -> None:
    old = {"digest": "e", "training_digest": "t", "snapshot_digest": "s", "path": "/x", "representations": {}}
    report = EvaluationReport.model_validate({**old, "left_out": ["knn: the data have no labels", "it needs labels"]})
    assert [left_out_sentence(one) for one in report.left_out] == ["knn: the data have no labels", "it needs labels"]


def version(number: int, *held_by: str) -> VersionInputs:
    return VersionInputs(name="n", version=number, training="t", snapshot="s", held_by=list(held_by))


RETENTION: list[tuple[str, dict[str, Any], str]] = [
    ("orphan", {"code": "incomplete"}, "left incomplete by a process that has ended"),
    ("cache", {"code": "in_use"}, "in use by a process"),
    (
        "cache",
        {"code": "used_by_run", "run": "quick-fox"},
        "used since flow run 'quick-fox' began, which may still be running",
    ),
    (
        "training",
        {"code": "version_kept", "versions": [version(3, "champion", "shadow")], "newest": 5},
        "made n version 3 (champion, shadow, among the newest 5)",
    ),
    ("snapshot", {"code": "version_kept", "versions": [version(3)], "newest": 1}, "data of n version 3 (the newest)"),
    (
        "features",
        {"code": "version_kept", "versions": [version(3, "for a rollback")]},
        "of n version 3 (for a rollback)",
    ),
    (
        "training",
        {"code": "versions_superseded", "versions": [version(1), version(2)], "newest": 5},
        "made n version 1, n version 2: no alias, and 5 newer versions",
    ),
    (
        "report",
        {"code": "versions_superseded", "versions": [version(1)], "newest": 5},
        "about n version 1: no alias, and 5 newer versions; MLflow keeps a copy",
    ),
    (
        "snapshot",
        {"code": "training_kept", "training": "a" * 64},
        f"training {'a' * 12}, which is kept, was made from it",
    ),
    ("features", {"code": "training_deleted"}, f"made by training {'7' * 12}, which is deleted"),
    ("cache", {"code": "snapshot_kept"}, f"made from snapshot {'5' * 12}, which is kept"),
    ("cache", {"code": "snapshot_deleted"}, f"made from snapshot {'5' * 12}, which is deleted"),
    ("training", {"code": "unused", "days": 31.04}, "no version was made from it; last used 31.0 days ago"),
    (
        "report",
        {"code": "used_recently", "days": 1, "keep_days": 30},
        "m has no version 8; last used 1.0 days ago, kept for 30",
    ),
]


@pytest.mark.parametrize(("kind", "reason", "sentence"), RETENTION)
def test_what_is_kept_or_deleted_is_worded_from_what_is_stored(
    kind: str, reason: dict[str, Any], sentence: str
) -> None:
    item = InventoryItem(
        kind=kind,
        path=Path("/x"),
        size_bytes=1,
        last_used=datetime(2026, 3, 1, tzinfo=UTC),
        snapshot="5" * 64,
        training="7" * 64,
        model="m",
        version=8,
    )
    verdict = RetentionVerdict(item=item, delete=True, reason=RetentionReason(**reason))
    assert retention_sentence(RetentionVerdict.model_validate_json(verdict.model_dump_json())) == sentence


def test_every_code_of_retention_has_a_sentence() -> None:
    assert {reason["code"] for _, reason, _ in RETENTION} == codes(Deleted, Kept)
    assert not codes(Deleted) & codes(Kept)


def test_a_plan_of_an_earlier_version_is_shown_as_it_is() -> None:
    item = {"kind": "cache", "path": "/x", "size_bytes": 1, "last_used": "2026-03-01T00:00:00Z"}
    plan = RetentionPlan.model_validate(
        {
            "verdicts": [{"item": item, "delete": True, "reason": "of unknown inputs"}],
            "broken": [{"name": "n", "version": 1, "sentence": "lineage of n version 1: its data is removed"}],
        }
    )
    assert [retention_sentence(verdict) for verdict in plan.to_delete] == ["of unknown inputs"]
    assert [broken_lineage_sentence(loss) for loss in plan.broken] == ["lineage of n version 1: its data is removed"]


def test_a_version_that_loses_only_its_data_can_be_neither_resumed_nor_evaluated_on_it() -> None:
    assert broken_lineage_sentence(BrokenLineage(name="n", version=1, snapshot="5" * 64)) == (
        "lineage of n version 1: its training data snapshot 555555555555 is removed; the version still loads, but it "
        "cannot be resumed or re-evaluated on its own data"
    )
