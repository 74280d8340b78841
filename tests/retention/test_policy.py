"""What goes and what stays, decided from values alone: laws that hold for any home, and the cases that people meet."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_core.report.reasons import broken_lineage_sentence, retention_sentence
from cl_core.retention.inventory_items import InventoryItem, OldestRun, VersionInputs
from cl_core.retention.policy import RetentionSpec, kept_versions, plan_retention

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DIGESTS = [letter * 64 for letter in "abc"]
digests = st.sampled_from(DIGESTS)
ages = st.integers(0, 60).map(lambda days: NOW - timedelta(days=days))


def item(kind, *, days=0.0, snapshot="", training="", **known):
    name = f"{kind}-{snapshot[:1]}{training[:1]}{known.get('model', '')}{known.get('version', '')}"
    used = NOW - timedelta(days=days)
    return InventoryItem(
        kind=kind,
        path=Path("/home") / name,
        size_bytes=10,
        last_used=used,
        snapshot=snapshot,
        training=training,
        **known,
    )


def version(number, *, snapshot=DIGESTS[0], training=DIGESTS[0], held_by=(), name="clothes"):
    return VersionInputs(name=name, version=number, training=training, snapshot=snapshot, held_by=list(held_by))


def going(items, versions=(), *, running=None, **spec):
    decided = plan_retention(items, versions, RetentionSpec(**spec), now=NOW, running=running)
    assert [verdict.item for verdict in decided.verdicts] == list(items)
    return {verdict.item.path.name: retention_sentence(verdict) for verdict in decided.to_delete}


@st.composite
def homes(draw):
    """Any set of things, of which no two are in one place, and any versions that may refer to them."""
    kinds = ["snapshot", "cache", "training", "features", "evaluation", "report", "initial weights", "orphan"]
    found = {}
    for _ in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(kinds))
        snapshot, training = draw(digests), draw(digests)
        known = {"last_used": draw(ages), "finished": kind != "orphan" or draw(st.booleans())}
        known["busy"] = draw(st.booleans()) and (kind == "training" or not known["finished"])
        if kind == "training":
            known |= {"training": training, "snapshot": snapshot, "finished": draw(st.booleans())}
        elif kind in ("features", "evaluation"):
            known |= {
                "training": draw(st.sampled_from(["", training])),
                "snapshot": draw(st.sampled_from(["", snapshot])),
            }
        elif kind == "report":
            known |= {"model": draw(st.sampled_from(["m", "n"])), "version": draw(st.integers(1, 5))}
        else:
            known |= {"snapshot": snapshot}
        identity = known["training"] if kind == "training" else known["snapshot"] if kind == "snapshot" else len(found)
        path = Path("/home") / kind / str(identity)
        found[path] = InventoryItem(kind=kind, path=path, size_bytes=1, **known)
    registered = [
        VersionInputs(
            name=name,
            version=number,
            training=draw(digests),
            snapshot=draw(digests),
            held_by=draw(st.sampled_from([[], [], ["champion"]])),
        )
        for name in ("m", "n")
        for number in range(1, draw(st.integers(1, 5)))
    ]
    return list(found.values()), registered


specs = st.builds(RetentionSpec, keep_versions=st.integers(1, 4), keep_days=st.integers(0, 50))
runs = st.one_of(st.none(), ages.map(lambda since: OldestRun(id="1", name="nightly", since=since)))


def gone(home, spec, running):
    items, versions = home
    return {verdict.item.path for verdict in plan_retention(items, versions, spec, now=NOW, running=running).to_delete}


@settings(deadline=None)
@given(homes(), specs, runs)
def test_nothing_that_a_held_version_refers_to_goes(home, spec, running):
    items, versions = home
    kept = [
        v
        for v in versions
        if v.held_by or v.version > max(w.version for w in versions if w.name == v.name) - spec.keep_versions
    ]
    left = gone(home, spec, running)
    for one in items:
        refers = any(
            (one.kind == "training" and one.training == v.training)
            or (one.kind in ("snapshot", "cache") and one.snapshot == v.snapshot)
            or (one.kind in ("features", "evaluation") and (one.snapshot, one.training) == (v.snapshot, v.training))
            or (one.kind == "report" and (one.model, one.version) == (v.name, v.version))
            for v in kept
        )
        # A cache, features or scores cannot be had from a snapshot that is not there any more.
        stands = one.kind not in ("cache", "features", "evaluation") or any(
            other.kind == "snapshot" and other.snapshot == one.snapshot for other in items
        )
        assert not (refers and stands and one.path in left), one


@settings(deadline=None)
@given(homes(), specs, runs)
def test_nothing_that_a_running_flow_may_have_used_goes_but_what_dead_processes_left(home, spec, running):
    left = gone(home, spec, running)
    for one in home[0]:
        dead = one.kind == "orphan" and one.finished
        if one.busy or (running and one.last_used >= running.since):
            assert dead or one.path not in left


@settings(deadline=None)
@given(homes(), specs, runs)
def test_the_data_of_a_training_that_stays_stays(home, spec, running):
    left = gone(home, spec, running)
    needed = {one.snapshot for one in home[0] if one.kind == "training" and one.path not in left}
    assert not any(one.kind == "snapshot" and one.snapshot in needed and one.path in left for one in home[0])


@settings(deadline=None)
@given(homes(), specs, runs)
def test_what_has_been_decided_once_leaves_nothing_for_the_next_time(home, spec, running):
    items, versions = home
    left = gone(home, spec, running)
    assert gone(([one for one in items if one.path not in left], versions), spec, running) == set()


@settings(deadline=None)
@given(homes(), specs, runs)
def test_keeping_more_never_removes_more(home, spec, running):
    left = gone(home, spec, running)
    assert gone(home, spec.model_copy(update={"keep_versions": spec.keep_versions + 1}), running) <= left
    assert gone(home, spec.model_copy(update={"keep_days": spec.keep_days + 5}), running) <= left


@settings(deadline=None)
@given(homes(), specs, runs)
def test_exactly_the_versions_that_lose_their_training_or_data_are_listed(home, spec, running):
    items, versions = home
    decided = plan_retention(items, versions, spec, now=NOW, running=running)
    left = [verdict.item for verdict in decided.to_delete]
    assert all(retention_sentence(verdict) for verdict in decided.verdicts)
    expected = {
        (v.name, v.version)
        for v in versions
        if any(one.kind == "training" and one.training == v.training for one in left)
        or any(one.kind == "snapshot" and one.snapshot == v.snapshot for one in left)
    }
    assert {(loss.name, loss.version) for loss in decided.broken} == expected
    assert not expected & kept_versions(versions, spec.keep_versions).keys()


def test_an_old_version_loses_checkpoint_and_data_and_the_list_says_so():
    a, b, _ = DIGESTS
    versions = [version(1, snapshot=a, training=a), version(2, snapshot=b, training=b)]
    items = [item("snapshot", snapshot=a), item("training", training=a, snapshot=a), item("snapshot", snapshot=b)]
    decided = plan_retention(items, versions, RetentionSpec(keep_versions=1), now=NOW, running=None)
    assert [verdict.item.path.name for verdict in decided.to_delete] == ["snapshot-a", "training-aa"]
    (loss,) = decided.broken
    assert broken_lineage_sentence(loss) == (
        "lineage of clothes version 1: its checkpoint (training aaaaaaaaaaaa) and its training data snapshot "
        "aaaaaaaaaaaa are removed; the version still loads, but it cannot be resumed or re-evaluated on its own data"
    )


def test_an_old_version_on_data_that_a_newer_one_shares_loses_only_its_checkpoint():
    a, b, _ = DIGESTS
    versions = [version(1, snapshot=a, training=a), version(2, snapshot=a, training=b)]
    items = [item("snapshot", snapshot=a), item("training", training=a, snapshot=a), item("cache", snapshot=a)]
    decided = plan_retention(items, versions, RetentionSpec(keep_versions=1), now=NOW, running=None)
    assert [verdict.item.path.name for verdict in decided.to_delete] == ["training-aa"]
    assert broken_lineage_sentence(decided.broken[0]) == (
        "lineage of clothes version 1: its checkpoint (training aaaaaaaaaaaa) is removed; "
        "the version still loads, but it cannot be resumed"
    )


@pytest.mark.parametrize("why", ["champion", "for a rollback", "shadow"])
def test_an_alias_or_a_rollback_to_come_holds_an_old_version(why):
    a, b, _ = DIGESTS
    versions = [version(1, snapshot=a, training=a, held_by=[why]), version(2, snapshot=b, training=b)]
    items = [item("snapshot", snapshot=a, days=90), item("training", training=a, snapshot=a, days=90)]
    assert going(items, versions, keep_versions=1, keep_days=0) == {}
    kept = kept_versions(versions, 1)["clothes", 1]
    assert (kept.code, kept.versions, kept.newest) == ("version_kept", [versions[0]], 0)


def test_the_newest_versions_are_counted_model_by_model():
    versions = [version(number, name=name) for name in ("shoes", "bags") for number in range(1, 5)]
    assert sorted(kept_versions(versions, 2)) == [("bags", 3), ("bags", 4), ("shoes", 3), ("shoes", 4)]


def test_a_failed_run_s_files_stay_for_the_days_asked_for():
    a, b, _ = DIGESTS
    items = [
        item("training", training=a, snapshot=a, finished=False, days=6.9),
        item("training", training=b, snapshot=b, finished=False, days=7),
    ]
    assert going(items, keep_days=7) == {"training-bb": "of a failed run, without a result; last used 7.0 days ago"}


def test_a_running_flow_keeps_what_was_used_since_it_began_and_two_minutes_for_clocks():
    running = OldestRun(id="1", name="nightly", since=NOW - timedelta(days=1))
    items = [item("snapshot", snapshot=DIGESTS[0], days=1 + 1 / 1440), item("snapshot", snapshot=DIGESTS[1], days=1.1)]
    assert list(going(items, running=running, keep_days=0)) == ["snapshot-b"]


def test_features_of_the_champion_on_newer_data_stay_with_both():
    a, b, _ = DIGESTS
    champion = version(1, snapshot=a, training=a, held_by=["champion"])
    items = [
        item("features", snapshot=b, training=a),
        item("snapshot", snapshot=b),
        item("evaluation", snapshot=b, training="c" * 64),
    ]
    assert list(going(items, [champion], keep_days=7)) == ["evaluation-bc"]


def test_a_report_goes_with_its_version_and_stays_with_a_held_one():
    versions = [version(1), version(2)]
    items = [item("report", model="clothes", version=number) for number in (1, 2)]
    gone_reports = going(items, versions, keep_versions=1)
    assert list(gone_reports) == ["report-clothes1"]
    assert gone_reports["report-clothes1"].endswith("; MLflow keeps a copy")


def test_weights_that_a_training_started_from_stay_for_the_days_asked_for():
    items = [item("initial weights", days=6.9, model="new"), item("initial weights", days=7, model="old")]
    why = "initial weights of trainings; MLflow keeps them with their version"
    assert going(items, keep_days=7) == {"initial weights-old": f"{why}; last used 7.0 days ago"}


def test_what_another_machine_may_be_writing_stays_for_a_day_at_least():
    fresh, old = (
        item("orphan", snapshot=d, days=days, finished=False) for d, days in zip(DIGESTS[:2], (0.9, 1.1), strict=True)
    )
    assert list(going([fresh, old], keep_days=0)) == ["orphan-b"]
