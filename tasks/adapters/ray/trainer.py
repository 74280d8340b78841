"""Ray Train: placement, collectives and restarts. Checkpoints are our own.

One worker trains in this process (Ray Train's local mode, no cluster). Two or more are a worker group, on a local
cluster that is started here and removed afterwards, or on the one that RAY_ADDRESS names.
"""

import contextlib
import importlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from operator import attrgetter
from pathlib import Path
from typing import Any

from cl_core.errors import TrainingError, WorkersLostError
from cl_core.refs import CheckpointRef
from cl_core.training.job import TrainingJob
from tasks.adapters.ray.cluster import cluster
from tasks.adapters.ray.cluster_folder import temporary_folder
from tasks.adapters.ray.compat import (
    CLUSTER_ENV,
    LOCAL_CLUSTER_ENV,
    QUIET_LOGGERS,
)
from tasks.adapters.ray.ctrl_c import StopFiles, first_ctrl_c
from tasks.adapters.ray.resources import check_machine
from tasks.adapters.ray.stall_watch import StallWatch
from tasks.runtime.process_environment import set_defaults
from tasks.runtime.settings import Settings

# A dead worker ends its group, which is restarted this many times.
MAX_GROUP_RESTARTS = 3
GROUP_START_TIMEOUT_S = 300
COLLECTIVE_TIMEOUT_S = 300

_ENV = {
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(GROUP_START_TIMEOUT_S),
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": str(COLLECTIVE_TIMEOUT_S),
    "RAY_USAGE_STATS_ENABLED": "0",
    **CLUSTER_ENV,
}
# The interface on which torch's gloo connects the workers of this machine.
_LOCAL_ENV = {"GLOO_SOCKET_IFNAME": "lo", **LOCAL_CLUSTER_ENV}


def fit(job: TrainingJob) -> CheckpointRef:
    """Train a job to its end with the number of workers that it requires.

    Raises:
        SpecError: When this machine or the cluster has fewer CPUs or GPUs than required; within seconds.
        TrainingError: When the training itself raised it; not retried.
        WorkersLostError: When workers died more often than `MAX_GROUP_RESTARTS`.
    """
    check_machine(job.compute)
    address = Settings.from_environment().ray_address
    set_defaults({**_ENV, **({} if address else _LOCAL_ENV)})
    for name, level in QUIET_LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    if job.compute.workers == 1:
        return _in_process(job)
    with temporary_folder(job.folder) as folder, cluster(address, job.compute, folder):
        return _worker_group(job, folder)


def _in_process(job: TrainingJob) -> CheckpointRef:
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    with first_ctrl_c() as pressed:

        def work(config: dict[str, Any]) -> dict[str, Any]:
            return _work(config, stop_requested=pressed)

        trainer = TorchTrainer(
            work, train_loop_config=job.model_dump(mode="json"), scaling_config=ScalingConfig(num_workers=0)
        )
        return _unless_pressed(pressed, _result(trainer.fit().return_value))


def _unless_pressed(pressed: Callable[[], bool], checkpoint: CheckpointRef) -> CheckpointRef:
    """Return the end of a training, or interrupt the run after it."""
    if pressed():
        raise KeyboardInterrupt(
            f"interrupted after the last step, {checkpoint.step}; its checkpoint is written and no step is lost, run "
            "the same command to resume"
        )
    return checkpoint


def _worker_group(job: TrainingJob, folder: Path) -> CheckpointRef:
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    compute = job.compute
    trainer = TorchTrainer(
        _work_in_group,
        train_loop_config=job.model_dump(mode="json"),
        torch_config=TorchConfig(backend="nccl" if compute.gpus_per_worker else "gloo", timeout_s=COLLECTIVE_TIMEOUT_S),
        scaling_config=ScalingConfig(
            num_workers=compute.workers,
            use_gpu=compute.gpus_per_worker > 0,
            resources_per_worker={"CPU": compute.threads // compute.workers, "GPU": compute.gpus_per_worker},
        ),
        run_config=RunConfig(
            name=job.digest[:16],
            storage_path=str(folder / "results"),
            failure_config=FailureConfig(max_failures=MAX_GROUP_RESTARTS, controller_failure_limit=1),
        ),
    )
    try:
        with StopFiles(job.folder).none_left(), first_ctrl_c() as pressed:
            meanwhile = _group_watch(job, pressed)
            return _unless_pressed(
                pressed, _result(_off_the_main_thread(trainer.fit, meanwhile=meanwhile).return_value)
            )
    except TrainingFailedError as error:
        raise WorkersLostError(
            f"the training's {compute.workers} workers failed more than {MAX_GROUP_RESTARTS} times, last with: "
            f"{str(error).strip().splitlines()[-1]}. The last checkpoint is kept; run the same command to resume"
        ) from error


def _group_watch(job: TrainingJob, pressed: Callable[[], bool]) -> Callable[[], None]:
    """Return what to call often while a group trains: it restarts stalled workers, and stops the group after Ctrl-C."""
    stalls, stop = StallWatch(job, start_s=GROUP_START_TIMEOUT_S), StopFiles(job.folder)

    def look() -> None:
        stalls.look()
        if not pressed():
            return
        stop.request()
        answer = stop.answered()
        # While the workers start there is nothing to keep.
        if answer is not None or not stalls.has_begun:
            raise KeyboardInterrupt(answer or "")

    return look


def _work_in_group(config: dict[str, Any]) -> dict[str, Any]:
    """Train, in each worker of a group, until worker 0 is asked to stop; it answers when its checkpoint is written."""
    stop = StopFiles(TrainingJob.model_validate(config).folder)
    try:
        return _work(config, stop_requested=stop.is_requested)
    except KeyboardInterrupt as stopped:
        stop.answer(str(stopped))
        return {}  # The others wait for it, until all are killed.


def _work(config: dict[str, Any], *, stop_requested: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    """Train, in each worker. An error that a retry would meet again is returned: Ray would restart the group for it."""
    from cl_core.training.loop import train

    job = TrainingJob.model_validate(config)
    try:
        return {"checkpoint": train(job, stop_requested=stop_requested).model_dump(mode="json")}
    except TrainingError as error:
        # The class travels by name, with its bases: the driver cannot import one that was defined in a function.
        classes = type(error).__mro__[: type(error).__mro__.index(TrainingError) + 1]
        return {"error": [[cls.__module__, cls.__qualname__] for cls in classes], "message": str(error)}


def _result(returned: dict[str, Any]) -> CheckpointRef:
    if "error" in returned:
        raise _error(returned["error"], returned["message"])
    return CheckpointRef.model_validate(returned["checkpoint"])


def _error(classes: list[list[str]], message: str) -> TrainingError:
    """Return a worker's error, of the first of its classes that this process can import.

    Its initializer is passed over, for it may take other arguments than a message.
    """
    for module, name in classes:
        with contextlib.suppress(ImportError, AttributeError):
            cls = attrgetter(name)(importlib.import_module(module))
            if isinstance(cls, type) and issubclass(cls, TrainingError):
                error: TrainingError = cls.__new__(cls, message)
                error.args = (message,)
                return error
    return TrainingError(message)


def _off_the_main_thread(call: Any, *, meanwhile: Callable[[], None]) -> Any:
    """Run a blocking call in a thread, so that Ctrl-C and SIGTERM reach this thread at once; call `meanwhile` often.

    On the main thread Ray Train would install a Ctrl-C handler that outlives the run.
    """
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=run, name="ray-train", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
        meanwhile()
    return outcome.result()
