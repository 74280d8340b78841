"""What Counterpoint uses of Ray beyond its documented interface.

tests/tasks/adapters/ray/test_ray_compat.py checks each part, so that an upgrade that breaks one is noticed.
"""

from typing import Any

WORKER_NAME = "RayTrainWorker"
"""Part of the name of the processes that train: the class of Ray Train's actor.

Ray gives no process IDs of a worker group to the driver.
https://github.com/ray-project/ray/blob/ray-2.60.0/python/ray/train/v2/_internal/execution/worker_group/worker.py
"""

GCS_SERVER_NAME = "gcs_server"
"""Name of the process that `ray.shutdown` talks to, and which may therefore not be killed before it.

https://github.com/ray-project/ray/blob/ray-2.60.0/python/ray/_private/services.py
"""

TEMP_DIR_OPTION = "_temp_dir"
"""Option of `ray.init` for the folder of its sockets and logs, so that clusters do not share one.

https://github.com/ray-project/ray/blob/ray-2.60.0/python/ray/_private/worker.py
"""

QUIET_LOGGERS = {"ray.train": "WARNING", "ray._private.authentication": "ERROR"}
"""Loggers whose messages are of use to Ray's developers only: progress of its controller, and the token of a cluster
that only this process talks to.

https://github.com/ray-project/ray/tree/ray-2.60.0/python/ray/_private/authentication
"""

CLUSTER_ENV = {
    # Does not warn for each process without GPUs that it will leave CUDA_VISIBLE_DEVICES alone one day.
    # https://github.com/ray-project/ray/blob/ray-2.60.0/python/ray/_private/accelerators/accelerator.py
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Does not look for a `uv run` among the parent processes and start the workers through it.
    # https://github.com/ray-project/ray/blob/ray-2.60.0/python/ray/_private/worker.py
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Does not look for the metrics agent, which logs errors where no dashboard runs.
    # https://github.com/ray-project/ray/blob/ray-2.60.0/python/ray/train/v2/_internal/constants.py
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
"""Environment of every cluster; what a person has set is kept."""

LOCAL_CLUSTER_ENV = {
    # Ray listens on the loopback interface, as on other systems than Linux; it has no other setting for that.
    # https://github.com/ray-project/ray/blob/ray-2.60.0/python/ray/_private/ray_constants.py
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray's default niceness of 15 leaves a worker a thirtieth of a core beside other processes, and a group waits in
    # each collective for its slowest worker.
    # https://github.com/ray-project/ray/blob/ray-2.60.0/python/ray/_private/ray_constants.py
    "RAY_worker_niceness": "0",
}
"""Environment of a cluster that is started here, for this machine alone."""


def job_config() -> Any:
    """Return a job whose workers import nothing from the folder that its command is started in, such as a `tasks.py`.

    Ray puts that folder first on their import path, unless it takes them to have one of their own.
    https://github.com/ray-project/ray/blob/ray-2.60.0/python/ray/_private/worker.py
    """
    from ray.job_config import JobConfig

    job = JobConfig()
    job._runtime_env_has_working_dir = lambda: True
    return job
