"""The commands that list and fetch what is registered."""

from pathlib import Path

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


class FetchedModel(BaseModel):
    """A copy of a registered version."""

    uri: str = Field(description="models:/NAME/VERSION")
    path: Path = Field(description="Folder that `mlflow.pyfunc.load_model` and `mlflow.pytorch.load_model` take.")


def fetch(model: str, folder: Path) -> FetchedModel:
    """Copy a registered version into a folder, to be loaded without a server.

    Args:
        model: NAME@ALIAS or NAME/VERSION, such as fashion-mnist@champion.
        folder: Folder that is made for it.
    """
    from tasks.adapters.mlflow.model_store import model_store

    store = model_store()
    ref = store.named(model)
    store.copy(ref, folder)
    return FetchedModel(uri=ref.uri, path=folder.absolute())
