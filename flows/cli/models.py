"""The command that lists what is registered."""

from pydantic import BaseModel, Field

from flows.parameters import ModelName
from tasks.adapters.mlflow.model_version import VersionRow


class ModelVersions(BaseModel):
    """Registered models and their versions."""

    models: dict[str, list[VersionRow]] = Field(description="By the model's name; versions newest first.")


def models(model_name: ModelName | None = None) -> ModelVersions:
    """List registered versions with their aliases and scores.

    Args:
        model_name: Name of the registered model; all models if left out.
    """
    from tasks.adapters.mlflow.model_store import model_store

    store = model_store()
    return ModelVersions(
        models={name: store.versions(name) for name in ([model_name] if model_name else store.names())}
    )
