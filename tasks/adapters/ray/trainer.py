"""Ray Train: placement, collectives and restarts. Checkpoints are our own, below it.

One worker trains in this process (Ray Train's local mode, no cluster). Two or more are a real worker group, on a
local cluster that is started here and removed afterwards, or on the one that RAY_ADDRESS names.
"""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from cl_core import errors
from cl_core.errors import SpecError, TrainingError, WorkersLostError
from cl_core.refs import CheckpointRef
from cl_core.specs import ComputeSpec
from cl_core.training.job import TrainingJob
from tasks.adapters.ray.cluster_folder import temporary_folder
from tasks.adapters.ray.stall_watch import StallWatch
from tasks.runtime.settings import Settings

# A dead worker takes the group down; it is started again this often before a person is asked.
MAX_GROUP_RESTARTS = 3
GROUP_START_TIMEOUT_S = 300
COLLECTIVE_TIMEOUT_S = 300
# Nothing of ours travels through Ray's object store but the job, a page of JSON.
OBJECT_STORE_BYTES = 100_000_000
_END_TIMEOUT_S = 10

_ENVIRONMENT = {
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(GROUP_START_TIMEOUT_S),
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": str(COLLECTIVE_TIMEOUT_S),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Ray's lookup of the metrics agent fails, loudly and harmlessly, where no dashboard runs.
    "RAY_TRAIN_METRICS_ENABLED": "0",
}

_OWN_CLUSTER = {
    # It listens on the loopback interface, as Ray has it on other systems than Linux.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "GLOO_SOCKET_IFNAME": "lo",
    # Ray gives workers a niceness of 15. Beside anything else at work they would get a thirtieth of a core each, and
    # all wait in a collective for the one that has none.
    "RAY_worker_niceness": "0",
}
"""Of a cluster that is started here, of this machine alone."""


def fit(job: TrainingJob) -> CheckpointRef:
    """Train a job to its end with as many workers as it asks for.

    Raises:
        SpecError: When the cluster has fewer CPUs or GPUs than asked for; within seconds.
        TrainingError: What the training itself raised; not retried.
        WorkersLostError: When workers died more often than `MAX_GROUP_RESTARTS`.
    """
    address = Settings.from_environment().ray_address
    for name, value in {**_ENVIRONMENT, **({} if address else _OWN_CLUSTER)}.items():
        os.environ.setdefault(name, value)
    # What is said at INFO is of use to Ray's own developers.
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    # It tells of the token with which it guards a cluster that only this process talks to.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    if job.compute.workers == 1:
        return _in_process(job)
    if not address:
        _check_resources(job.compute, cpus=os.cpu_count() or 1, gpus=_local_gpus(), where="this machine")
    with temporary_folder(job.folder) as folder, _cluster(address, job.compute, folder):
        return _worker_group(job, folder)


def _in_process(job: TrainingJob) -> CheckpointRef:
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        _work, train_loop_config=job.model_dump(mode="json"), scaling_config=ScalingConfig(num_workers=0)
    )
    return _result(trainer.fit().return_value)


def _worker_group(job: TrainingJob, folder: Path) -> CheckpointRef:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    compute = job.compute
    trainer = TorchTrainer(
        _work,
        train_loop_config=job.model_dump(mode="json"),
        torch_config=TorchConfig(backend="nccl" if compute.gpus_per_worker else "gloo", timeout_s=COLLECTIVE_TIMEOUT_S),
        scaling_config=ScalingConfig(
            num_workers=compute.workers,
            use_gpu=compute.gpus_per_worker > 0,
            resources_per_worker=_per_worker(compute),
        ),
        run_config=RunConfig(
            name=job.digest[:16],
            storage_path=str(folder / "results"),
            failure_config=FailureConfig(max_failures=MAX_GROUP_RESTARTS, controller_failure_limit=1),
        ),
    )
    try:
        watch = StallWatch(job, start_s=GROUP_START_TIMEOUT_S)
        return _result(_off_the_main_thread(trainer.fit, meanwhile=watch.look).return_value)
    except TrainingFailedError as error:
        raise WorkersLostError(
            f"the training's {compute.workers} workers failed more than {MAX_GROUP_RESTARTS} times, last with: "
            f"{str(error).strip().splitlines()[-1]}. The last good checkpoint stands; run the same command to go on"
        ) from error


def _work(config: dict[str, Any]) -> dict[str, Any]:
    """What each worker runs. An error that would come again is returned: raised, it would start the group again."""
    from cl_core.training.loop import train

    try:
        return {"checkpoint": train(TrainingJob.model_validate(config)).model_dump(mode="json")}
    except TrainingError as error:
        return {"error": type(error).__name__, "message": str(error)}


def _result(returned: dict[str, Any]) -> CheckpointRef:
    if "error" in returned:
        raise getattr(errors, returned["error"])(returned["message"])
    return CheckpointRef.model_validate(returned["checkpoint"])


def _per_worker(compute: ComputeSpec) -> dict[str, float]:
    return {"CPU": compute.threads // compute.workers, "GPU": compute.gpus_per_worker}


def _check_resources(compute: ComputeSpec, *, cpus: float, gpus: float, where: str) -> None:
    """Refuse at once what Ray would wait for without end."""
    gpus_wanted = compute.workers * compute.gpus_per_worker
    if compute.threads > cpus:
        raise SpecError(
            f"compute.threads: {compute.workers} workers with {compute.threads} CPU threads in all were asked for, "
            f"but {where} has {cpus:g}; choose compute.threads, and compute.workers, of at most {int(cpus)}"
        )
    if gpus_wanted > gpus:
        raise SpecError(
            f"compute.gpus_per_worker: {compute.workers} workers want {gpus_wanted} GPUs, but {where} has {gpus:g}; "
            "choose fewer workers, or 0 GPUs per worker"
        )


def _local_gpus() -> int:
    import torch

    return torch.cuda.device_count()


@contextlib.contextmanager
def _cluster(address: str, compute: ComputeSpec, folder: Path) -> Iterator[None]:
    """A connection to Ray; what is started here is stopped here, and signal handlers are left as they were."""
    import ray

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = _children()
    common: dict[str, Any] = {
        "log_to_driver": False,
        "configure_logging": False,
        "namespace": "counterpoint",
    }
    try:
        if address:
            ray.init(address=address, **common)
            total = ray.cluster_resources()
            _check_resources(
                compute, cpus=total.get("CPU", 0), gpus=total.get("GPU", 0), where=f"the Ray cluster at {address}"
            )
        else:
            ray.init(
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(folder),
                **common,
            )
        _restore(handlers)
        yield
    finally:
        _end(_children() - before)
        ray.shutdown()
        _restore(handlers)


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _end(processes: set[psutil.Process]) -> None:
    """Kill the processes of a cluster that nobody else uses.

    A shutdown waits for a raylet that hangs, and interrupted workers outlive it by seconds, writing into its folder.
    Only the server that the shutdown itself talks to is left to it.
    """
    killed = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() != "gcs_server":
                process.kill()
                killed.append(process)
    psutil.wait_procs(killed, timeout=_END_TIMEOUT_S)


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    """Ray replaces the handlers of the main thread; Prefect's cancellation and Ctrl-C depend on the old ones."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _off_the_main_thread(call: Any, *, meanwhile: Callable[[], None]) -> Any:
    """Run a blocking call such that Ctrl-C and SIGTERM still reach this thread at once; look around meanwhile.

    On the main thread Ray Train would install a Ctrl-C handler that outlives the run.
    """
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["value"] = call()
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=run, name="ray-train", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
        meanwhile()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]
