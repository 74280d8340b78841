"""Refuses workers, threads and GPUs that are not there: Ray would wait for them without end."""

from cl_core import processes
from cl_core.errors import SpecError
from cl_core.specs import ComputeSpec
from tasks.runtime.settings import Settings

# More would only wait for each other; a few wait for slow disks.
_INGEST_WORKERS_PER_CPU = 4


def check_ingestion(compute: ComputeSpec) -> None:
    """Refuse more threads that decode than this machine has use for.

    Raises:
        SpecError: With the number allowed.
    """
    cpus = processes.cpu_count()
    if compute.ingest_workers > (most := _INGEST_WORKERS_PER_CPU * cpus):
        raise SpecError(
            f"compute.ingest_workers: {compute.ingest_workers} threads, but this machine has {cpus} CPUs; choose at "
            f"most {most}, {_INGEST_WORKERS_PER_CPU} for each CPU"
        )


def check_machine(compute: ComputeSpec) -> None:
    """Refuse more threads or GPUs than this machine has; those of a cluster elsewhere are known when it is joined.

    Raises:
        SpecError: With the number allowed.
    """
    if compute.workers > 1 and Settings.from_environment().ray_address:
        return
    gpus = 0
    if compute.gpus_per_worker:
        import torch  # It takes seconds.

        gpus = torch.cuda.device_count()
    check_resources(compute, cpus=processes.cpu_count(), gpus=gpus, where="this machine")


def check_resources(compute: ComputeSpec, *, cpus: float, gpus: float, where: str) -> None:
    """Refuse more threads or GPUs than there are.

    Raises:
        SpecError: With the number allowed.
    """
    required_gpus = compute.workers * compute.gpus_per_worker
    workers = "1 worker needs" if compute.workers == 1 else f"{compute.workers} workers need"
    if compute.threads > cpus:
        raise SpecError(
            f"compute.threads: {workers} {compute.threads} CPU threads, but {where} has {cpus:g}; "
            f"choose compute.threads, and compute.workers, of at most {int(cpus)}"
        )
    if required_gpus > gpus:
        raise SpecError(
            f"compute.gpus_per_worker: {workers} a GPU each, but {where} has {gpus:g}; "
            "choose fewer workers, or 0 GPUs per worker"
        )
