"""The model store of this environment. Apart from registration: who only asks for versions need not wait for torch."""

from tasks.adapters.mlflow.model_store import ModelStore
from tasks.runtime.settings import Settings


def model_store() -> ModelStore:
    """The model store that the environment names."""
    settings = Settings.from_environment()
    return ModelStore(settings.tracking_uri, settings.artifact_root, settings.work)
