"""The Ray cluster of a worker group: one that is started here and leaves nothing behind, or the one at an address."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from cl_core import processes
from cl_core.specs import ComputeSpec
from tasks.adapters.ray.compat import GCS_SERVER_NAME, TEMP_DIR_OPTION, job_config
from tasks.adapters.ray.resources import check_resources

# Only the job, a page of JSON, travels through Ray's object store.
OBJECT_STORE_BYTES = 100_000_000
_KILL_TIMEOUT_S = 10


@contextlib.contextmanager
def cluster(address: str, compute: ComputeSpec, folder: Path) -> Iterator[None]:
    """Connect to Ray for the body; stop a cluster that was started here, and keep the signal handlers."""
    import ray

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = _children()
    common: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "namespace": "counterpoint"}
    common["job_config"] = job_config()
    try:
        if address:
            ray.init(address=address, **common)
            total = ray.cluster_resources()
            check_resources(
                compute, cpus=total.get("CPU", 0), gpus=total.get("GPU", 0), where=f"the Ray cluster at {address}"
            )
        else:
            local = {"include_dashboard": False, TEMP_DIR_OPTION: str(folder)}
            ray.init(num_cpus=processes.cpu_count(), object_store_memory=OBJECT_STORE_BYTES, **local, **common)
        _restore(handlers)
        yield
    finally:
        _kill(_children() - before)
        ray.shutdown()
        _restore(handlers)


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _kill(members: set[psutil.Process]) -> None:
    """Kill the processes of a cluster that was started here, except the server that the shutdown talks to.

    A shutdown waits for a raylet that hangs, and interrupted workers outlive it by seconds, writing into its folder.
    """
    killed = []
    for process in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() != GCS_SERVER_NAME:
                process.kill()
                killed.append(process)
    psutil.wait_procs(killed, timeout=_KILL_TIMEOUT_S)


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    """Restore the handlers that Ray replaces; Prefect's cancellation and Ctrl-C depend on them."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)
