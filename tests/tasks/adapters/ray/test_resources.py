"""Processes and threads that are not there are refused with the number that is."""

import pytest

from cl_core import processes
from cl_core.errors import SpecError
from cl_core.specs import ComputeSpec
from tasks.adapters.ray.resources import check_ingestion, check_resources


def test_more_processes_that_decode_than_the_cpus_have_use_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "cpu_count", lambda: 3)
    check_ingestion(ComputeSpec(ingest_workers=12))
    with pytest.raises(SpecError) as caught:
        check_ingestion(ComputeSpec(ingest_workers=13))
    assert str(caught.value) == (
        "compute.ingest_workers: 13 threads, but this machine has 3 CPUs; choose at most 12, 4 for each CPU"
    )


def test_more_threads_or_gpus_than_there_are_are_refused() -> None:
    compute = ComputeSpec(workers=2, threads=4, gpus_per_worker=1)
    check_resources(compute, cpus=4, gpus=2, where="the cluster")
    with pytest.raises(SpecError, match=r"2 workers need 4 CPU threads, but the cluster has 3.5; .* of at most 3"):
        check_resources(compute, cpus=3.5, gpus=2, where="the cluster")
    with pytest.raises(SpecError, match=r"2 workers need a GPU each, but the cluster has 1"):
        check_resources(compute, cpus=4, gpus=1, where="the cluster")
