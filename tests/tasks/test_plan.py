"""What the plan decides of a training before it begins, and says."""

from pathlib import Path

import pytest
from labels import with_labels
from prefect.logging import disable_run_logger
from small_training import DATA, SMALL

from cl_core.data.cache import build_cache, load_split
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.sampling import hold_out
from cl_core.modalities.image import Images
from cl_core.refs import CacheRef, SnapshotRef
from cl_core.specs import ComputeSpec, DataSpec, TrainingSpec
from cl_core.training.components import assemble
from cl_core.training.job import TrainingJob
from tasks.training import plan


@pytest.fixture
def planned(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Plans the small training with other fields: the job, and the lines on the terminal."""
    monkeypatch.setenv("CL_HOME", str(tmp_path))

    def make(snapshot: SnapshotRef, **changes: object) -> tuple[TrainingJob, list[str]]:
        parts = assemble(TrainingSpec.model_validate({**SMALL.model_dump(), **changes}))
        with disable_run_logger():
            job = plan.fn(snapshot, CacheRef(digest=cache.name, path=cache), DATA, parts, ComputeSpec(threads=1))
        return job, [line.strip() for line in capsys.readouterr().err.splitlines()]

    return make


def test_epochs_left_open_are_chosen_kept_in_the_completed_spec_and_reported(snapshot: SnapshotRef, planned) -> None:
    steps = snapshot.rows["train"] // 32
    job, lines = planned(snapshot, epochs=None)
    assert job.training.epochs == round(1000 / steps)
    assert lines == [f"training.epochs: {job.training.epochs}, for {steps * job.training.epochs:,} steps"]
    given, _ = planned(snapshot, epochs=job.training.epochs)
    assert given.digest == job.digest
    assert TrainingJob.model_validate_json(job.model_dump_json()) == job


def test_a_training_of_few_steps_is_warned_about_and_one_of_fifty_is_not(snapshot: SnapshotRef, planned) -> None:
    steps = snapshot.rows["train"] // 32
    few, enough = 49 // steps, -(-50 // steps)
    (warning,) = planned(snapshot, epochs=few)[1]
    assert warning.startswith(f"warning: the training has {few * steps} steps, and with fewer than 50 an encoder")
    assert warning.endswith("; raise training.epochs, or leave it out for about 1,000 steps")
    assert planned(snapshot, epochs=enough)[1] == []


def test_facenet_is_planned_with_samples_per_class_that_the_labels_allow(
    snapshot: SnapshotRef, planned, tmp_path: Path
) -> None:
    ten = with_labels(snapshot, tmp_path, train={f"class {number}": 10 for number in range(10)})
    job, lines = planned(ten, method="facenet", method_options={}, batch_size=64, epochs=50)
    assert job.training.method_options["samples_per_class"] == 8
    assert lines == [
        "training.method_options.samples_per_class: 8, for batches of 64 from 10 classes, the smallest of 10 samples"
    ]


@pytest.fixture
def planned_in_groups(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Plans a training on 40 pictures in groups: the job, and the lines on the terminal."""
    monkeypatch.setenv("CL_HOME", str(tmp_path))

    def make(group: str, **changes: object) -> tuple[TrainingJob, list[str]]:
        data = DataSpec(name="pets", source="image_folder", location=str(folder), group=group, image_size=16)
        snapshot = ingest_source(data, datasets=tmp_path / "datasets").snapshot
        cached = build_cache(snapshot, Images(size=16), caches=tmp_path)
        settings = {**SMALL.model_dump(), "epochs": None, "batch_size": 8, "held_out_share": 0.3, **changes}
        with disable_run_logger():
            ref = CacheRef(digest=cached.name, path=cached)
            job = plan.fn(snapshot, ref, data, assemble(TrainingSpec.model_validate(settings)), ComputeSpec(threads=1))
        return job, [line.strip() for line in capsys.readouterr().err.splitlines()]

    return make


def test_the_plan_counts_what_is_left_when_whole_groups_are_held_out(planned_in_groups) -> None:
    job, _ = planned_in_groups(r"pattern:(\d)\.png")  # Ten groups of four: by the last digit.
    trained, held_out = hold_out(load_split(job.cache, "train"), 0.3)
    assert held_out is not None
    assert len(trained.ids) % 4 == len(held_out.ids) % 4 == 0
    assert job.training.epochs == round(1000 / (len(trained.ids) // 8))
    # Single samples would leave more steps in an epoch.
    assert (len(trained.ids) + len(held_out.ids)) * 7 // 10 // 8 != len(trained.ids) // 8


def test_where_no_group_is_small_enough_to_be_held_out_a_warning_says_so(planned_in_groups) -> None:
    _, lines = planned_in_groups(r"pattern:(\d)\.png", held_out_share=0.02)
    assert lines[0].startswith("warning: no group is as small as the held-out part, 0.02 of the training split, so")
