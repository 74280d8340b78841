"""Looking up models and versions by the names that people give, and saying what there is when there is no such one."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cl_core.errors import InputError
from tasks.adapters.mlflow.model_version import CHAMPION, TRAINING_DIGEST

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel


def find_model(client: "MlflowClient", name: str) -> "RegisteredModel | None":
    """The model of that name; None when there is none, or when nothing can be named so."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def require_model(client: "MlflowClient", name: str) -> "RegisteredModel":
    """The model of that name, or an InputError that lists the models there are."""
    model = find_model(client, name)
    if model is None:
        raise InputError(
            f"there is no registered model named {name!r}; there are: {comma_separated(model_names(client))}"
        )
    return model


def require_version(client: "MlflowClient", name: str, version: int) -> None:
    """Nothing, or an InputError that lists the versions there are."""
    require_model(client, name)
    existing = sorted(int(found.version) for found in all_versions(client, name))
    if version not in existing:
        raise InputError(f"model {name!r} has no version {version}; there are: {comma_separated(existing)}")


def version_by_number(client: "MlflowClient", name: str, version: int) -> "ModelVersion":
    """The version of this number, 0 being the champion; or an InputError that lists the versions there are."""
    if version:
        require_version(client, name, version)
        return client.get_model_version(name, str(version))
    alias = require_model(client, name).aliases.get(CHAMPION)
    if alias is None:
        existing = comma_separated(sorted(int(found.version) for found in all_versions(client, name)))
        raise InputError(
            f"model {name!r} has no champion yet; name one of its versions: {existing}, or promote one "
            f"(`cl promote {name} VERSION`)"
        )
    return client.get_model_version(name, alias)


def version_of_training(client: "MlflowClient", name: str, training_digest: str) -> "ModelVersion":
    """The version that a training made, or an InputError that lists the versions there are."""
    require_model(client, name)
    if found := versions_of_training(client, name, training_digest):
        return found[0]
    numbers = comma_separated(sorted(int(version.version) for version in all_versions(client, name)))
    raise InputError(
        f"no version of {name!r} was made by training {training_digest[:12]}, which follows from the data, the "
        f"training spec and the code as they are now; there are: {numbers}. "
        "`cl register` with the same options makes one"
    )


def all_versions(client: "MlflowClient", name: str) -> "list[ModelVersion]":
    """All versions of a model, in no order."""
    return list(client.search_model_versions(f"name = '{name}'"))


def versions_of_training(client: "MlflowClient", name: str, training_digest: str) -> "list[ModelVersion]":
    """The versions of a model that were made by one training, oldest first; more than one only by a race."""
    found = client.search_model_versions(f"name = '{name}' AND tags.`{TRAINING_DIGEST}` = '{training_digest}'")
    return sorted(found, key=lambda version: int(version.version))


def model_names(client: "MlflowClient") -> list[str]:
    """The registered models, sorted."""
    return sorted(model.name for model in client.search_registered_models(max_results=1000))


def comma_separated(found: Iterable[object]) -> str:
    """The things found, in words."""
    return ", ".join(map(str, found)) or "none"
