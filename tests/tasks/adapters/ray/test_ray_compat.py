"""What is used of Ray's private parts is still there: an upgrade that breaks one fails here first.

Its source is read instead of imported, which takes seconds. That niceness, loopback, names of processes and the folder
have their effect is seen where workers train (test_trainer.py).
"""

import importlib.util
import re
from pathlib import Path

import pytest

from tasks.adapters.ray.compat import (
    CLUSTER_ENV,
    GCS_SERVER_NAME,
    LOCAL_CLUSTER_ENV,
    QUIET_LOGGERS,
    TEMP_DIR_OPTION,
    WORKER_NAME,
)

_RAY = importlib.util.find_spec("ray")
assert _RAY is not None and _RAY.origin is not None
RAY = Path(_RAY.origin).parent

READ_IN = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "_private/accelerators/accelerator.py",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "_private/ray_constants.py",
    "RAY_TRAIN_METRICS_ENABLED": "train/v2/_internal/constants.py",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "_private/ray_constants.py",
    "RAY_worker_niceness": "_private/ray_constants.py",
}


@pytest.mark.parametrize("variable", [*CLUSTER_ENV, *LOCAL_CLUSTER_ENV])
def test_ray_reads_each_environment_variable(variable: str) -> None:
    assert f'"{variable}"' in (RAY / READ_IN[variable]).read_text()


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("_private/worker.py", rf'kwargs\.pop\("{TEMP_DIR_OPTION}"'),
        ("_private/services.py", rf'"{GCS_SERVER_NAME}" \+ EXE_SUFFIX'),
        ("train/v2/_internal/execution/worker_group/worker.py", rf"^class {WORKER_NAME}:"),
        ("job_config.py", r"^    def _runtime_env_has_working_dir"),
        ("_private/worker.py", r"and not job_config\._runtime_env_has_working_dir\(\):\n +current_directory = "),
        ("train/v2/api/config.py", r"^    controller_failure_limit: int"),
    ],
)
def test_ray_still_has_each_name(file: str, pattern: str) -> None:
    assert re.search(pattern, (RAY / file).read_text(), re.MULTILINE)


@pytest.mark.parametrize("logger", QUIET_LOGGERS)
def test_the_loggers_that_are_made_quiet_are_packages_of_ray(logger: str) -> None:
    assert (RAY.parent / logger.replace(".", "/") / "__init__.py").exists()
