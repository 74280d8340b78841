"""What the first step refuses before anything is read or trained."""

import pytest

import tasks.training
from cl_core import processes
from cl_core.errors import SpecError
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
