"""What Counterpoint uses of MLflow beyond its documented interface.

tests/tasks/adapters/mlflow/test_mlflow_compat.py checks each part, so that an upgrade that breaks one is noticed.
"""

import contextlib
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType

from tasks.runtime.process_environment import restored

_LIGHTNING_AUTOLOG = "mlflow.pytorch._lightning_autolog"
_REQUIREMENTS_CHECK = "warn_dependency_requirement_mismatches"
_TYPE_HINT_WARNING = "(?s).*Any type hint is inferred as AnyType"

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's database that name where artifacts lie; those of experiments come first.

They are absolute, and no call of MLflow changes them.
https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow/store/tracking/dbmodels/models.py
https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow/store/model_registry/dbmodels/models.py
"""
DATASET_SOURCE = ("datasets", "dataset_source")
"""The table and column of where a dataset came from: the JSON that `training_run.log_dataset` wrote."""
DATASET_SOURCE_START = '{"uri": "'
WITHOUT_SERVER = "When an mlflow-artifacts URI was supplied, the tracking URI must be"
"""How MLflow begins its refusal of artifacts that only a server can resolve; it has no error code of its own.

https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow/store/artifact/mlflow_artifacts_repo.py
"""


def import_pytorch_flavor() -> ModuleType:
    """Import MLflow's module that saves and loads programs of torch, without Lightning.

    Where Lightning is installed, `mlflow.pytorch` imports a private module that imports all of it: 4 s, and a handler
    on the root logger. MLflow catches the ImportError that a hidden module raises.
    https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow/pytorch/__init__.py (the last lines)

    `mlflow.pyfunc` warns about its own type hints while it is imported.
    https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow/types/type_hints.py
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _TYPE_HINT_WARNING, UserWarning)
        import mlflow.pyfunc

        hidden = sys.modules.setdefault(_LIGHTNING_AUTOLOG, None) is None  # type: ignore[arg-type]
        import mlflow.pytorch
    if hidden:
        del sys.modules[_LIGHTNING_AUTOLOG]
    return mlflow.pytorch


@contextlib.contextmanager
def process_tracking_uri(tracking_uri: str) -> Iterator[None]:
    """Set the address of the process, as its store and its registry, for the body; afterwards it is what it was.

    MLflow resolves addresses such as `models:/m-...` through the tracking address of the process, and `models:/parts/1`
    through its registry address. Where none was set, that is MLFLOW_REGISTRY_URI, perhaps of another project.
    `mlflow.set_tracking_uri` and `mlflow.set_registry_uri` also write the variables, where the address would become a
    setting that no one made.
    https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow/tracking/_tracking_service/utils.py
    https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow/tracking/_model_registry/utils.py
    """
    import mlflow
    from mlflow.tracking._model_registry import utils as registry
    from mlflow.tracking._tracking_service.utils import _use_tracking_uri

    before = registry._registry_uri
    with restored("MLFLOW_TRACKING_URI"), restored("MLFLOW_REGISTRY_URI"), _use_tracking_uri(tracking_uri):
        mlflow.set_registry_uri(tracking_uri)
        try:
            yield
        finally:
            registry._registry_uri = before


@contextlib.contextmanager
def installed_requirements() -> Iterator[None]:
    """Save a model whose requirements are the installed versions: MLflow does not compare them for the body.

    For that comparison it lists the files of every installed distribution, which takes 1.4 s.
    https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow/utils/environment.py (`_process_pip_requirements`)
    """
    from mlflow.utils import environment

    check = getattr(environment, _REQUIREMENTS_CHECK)
    setattr(environment, _REQUIREMENTS_CHECK, lambda _: None)
    try:
        yield
    finally:
        setattr(environment, _REQUIREMENTS_CHECK, check)
