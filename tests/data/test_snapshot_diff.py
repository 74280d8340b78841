"""What changed between two snapshots of a dataset, in counts that a person can check by hand."""

from pathlib import Path

from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.snapshot import snapshot_profile
from cl_core.data.snapshot_diff import describe_changes, previous_profile
from cl_core.refs import SnapshotRef
from cl_core.specs import DataSpec


def made(home: Path, count: int, classes: int) -> SnapshotRef:
    options = {"count": count, "classes": classes, "size": 16}
    return ingest_source(DataSpec(name="shapes", source="synthetic", source_options=options), datasets=home).snapshot


def test_the_first_snapshot_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    first = made(tmp_path, 64, 2)
    assert previous_profile(first.path) is None
    assert describe_changes(None, snapshot_profile(first.path)) == "no earlier snapshot of shapes"


def test_more_samples_and_a_new_class_are_counted_against_the_snapshot_before(tmp_path: Path) -> None:
    first, second = made(tmp_path, 64, 2), made(tmp_path, 90, 3)
    before = previous_profile(second.path)
    assert before is not None and before.digest == first.digest
    now = snapshot_profile(second.path)
    sentence = describe_changes(before, now)
    train = now.rows["train"] - before.rows["train"]
    assert sentence.startswith(f"since snapshot {first.digest[:12]}: ")
    assert f"train samples {before.rows['train']} to {now.rows['train']} ({train:+})" in sentence
    [new] = set(now.classes) - set(before.classes)
    assert f"new classes: {new}" in sentence
    assert f"removed classes: {new}" in describe_changes(now, before)


def test_as_many_samples_of_each_class_are_not_called_the_same(tmp_path: Path) -> None:
    profile = snapshot_profile(made(tmp_path, 64, 2).path)
    assert describe_changes(profile, profile).endswith("other samples, the same number of each class")
