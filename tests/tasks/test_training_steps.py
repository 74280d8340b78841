"""What the first step refuses before anything is read or trained, and where a finished training is found."""

from pathlib import Path

import pytest

import tasks.training
from cl_core import artifact_dir, processes
from cl_core.errors import SpecError
from cl_core.refs import CheckpointRef
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, TrainingSpec


def preflight(**compute: int) -> None:
    tasks.training.preflight.fn(
        DataSpec(name="shapes", source="synthetic"), TrainingSpec(), EvaluationSpec(), ComputeSpec(**compute)
    )


def test_more_threads_than_cpus_are_refused_with_the_number_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    cpus = processes.cpu_count()
    with pytest.raises(SpecError) as one:
        preflight(threads=cpus + 1)
    assert str(one.value) == (
        f"compute.threads: 1 worker needs {cpus + 1} CPU threads, but this machine has {cpus}; "
        f"choose compute.threads, and compute.workers, of at most {cpus}"
    )
    with pytest.raises(SpecError, match=f"512 workers need 512 CPU threads, but this machine has {cpus}; "):
        preflight(workers=512, threads=512)
    # One worker trains in this process, wherever the cluster is; what a cluster has is known when it is joined.
    monkeypatch.setenv("RAY_ADDRESS", "ray.example:6379")
    with pytest.raises(SpecError, match=f"this machine has {cpus}; "):
        preflight(threads=cpus + 1)
    preflight(workers=512, threads=512)


def test_the_default_number_of_threads_is_never_refused() -> None:
    assert ComputeSpec().threads == min(2, processes.cpu_count())
    preflight()


@pytest.mark.parametrize("stored", ["checkpoints/step-00000008", "/old/home/trainings/1/checkpoints/step-00000008"])
def test_a_finished_training_is_found_beside_its_result_also_after_a_move(tmp_path: Path, stored: str) -> None:
    """Version 0.1.0 stored the absolute path."""
    checkpoint = tmp_path / "checkpoints" / "step-00000008"
    with artifact_dir.staging(checkpoint.parent) as staged:
        artifact_dir.publish(staged, checkpoint, {"step": 8})
    result = CheckpointRef(
        digest="1", path=Path(stored), step=8, snapshot_digest="5", resumed_from_step=0, seconds=1, peak_bytes=1
    )
    (tmp_path / "checkpoint.json").write_text(result.model_dump_json())
    found = tasks.training._finished(tmp_path / "checkpoint.json")
    assert found == result.model_copy(update={"path": checkpoint})
