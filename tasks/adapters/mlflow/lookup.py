"""Lookups of models and versions; the error for an unknown name lists the names that exist."""

import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from cl_core.errors import InputError
from tasks.adapters.mlflow.model_version import CHAMPION, TRAINING_DIGEST

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel
    from mlflow.store.entities import PagedList


def find_model(client: "MlflowClient", name: str) -> "RegisteredModel | None":
    """Return the model of that name; None when there is none, or when the name is not valid."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def require_model(client: "MlflowClient", name: str) -> "RegisteredModel":
    """Return the model of that name; raise an InputError that lists the models when there is none."""
    model = find_model(client, name)
    if model is None:
        raise InputError(
            f"there is no registered model named {name!r}; there are: {comma_separated(model_names(client))}"
        )
    return model


def require_version(client: "MlflowClient", name: str, version: int) -> None:
    """Raise an InputError that lists the versions when this one does not exist."""
    require_model(client, name)
    existing = version_numbers(client, name)
    if version not in existing:
        raise InputError(f"model {name!r} has no version {version}; there are: {comma_separated(existing)}")


def version_by_number(client: "MlflowClient", name: str, version: int) -> "ModelVersion":
    """Return the version with this number, 0 for the champion; raise an InputError if it does not exist."""
    if version:
        require_version(client, name, version)
        return client.get_model_version(name, str(version))
    alias = require_model(client, name).aliases.get(CHAMPION)
    if alias is None:
        raise InputError(
            f"model {name!r} has no champion yet; name one of its versions: "
            f"{comma_separated(version_numbers(client, name))}, "
            f"or promote one (`cl promote {shlex.quote(name)} VERSION`)"
        )
    return client.get_model_version(name, alias)


def version_by_text(client: "MlflowClient", text: str) -> "ModelVersion":
    """Return the version that NAME@ALIAS or NAME/VERSION names; raise an InputError if there is none."""
    name, at, alias = text.rpartition("@")
    if at and name:
        aliases = require_model(client, name).aliases
        if alias not in aliases:
            raise InputError(f"model {name!r} has no alias {alias!r}; there are: {comma_separated(sorted(aliases))}")
        return client.get_model_version(name, aliases[alias])
    name, _, number = text.rpartition("/")
    if not name or not number.isdigit():
        raise InputError(f"model: wanted NAME@ALIAS or NAME/VERSION, such as fashion-mnist@champion; got {text!r}")
    require_version(client, name, int(number))
    return client.get_model_version(name, number)


def version_of_training(client: "MlflowClient", name: str, training_digest: str) -> "ModelVersion":
    """Return the version of a training; raise an InputError that lists the versions when there is none."""
    require_model(client, name)
    if registered := versions_of_training(client, name, training_digest):
        return registered[0]
    raise InputError(
        f"no version of {name!r} was made by training {training_digest[:12]}, the training of the present data, "
        f"training spec and code; there are: {comma_separated(version_numbers(client, name))}. `cl register` with the "
        "same options registers it"
    )


def all_versions(client: "MlflowClient", name: str) -> "list[ModelVersion]":
    """Return all versions of a model, in no order."""
    return list(_pages(client.search_model_versions, f"name = '{name}'"))


def version_numbers(client: "MlflowClient", name: str) -> list[int]:
    """Return the numbers of all versions of a model, sorted."""
    return sorted(int(version.version) for version in all_versions(client, name))


def versions_of_training(client: "MlflowClient", name: str, training_digest: str) -> "list[ModelVersion]":
    """Return the versions that one training made, oldest first; more than one only after a race."""
    query = f"name = '{name}' AND tags.`{TRAINING_DIGEST}` = '{training_digest}'"
    return sorted(client.search_model_versions(query), key=lambda version: int(version.version))


def model_names(client: "MlflowClient") -> list[str]:
    """Return the names of the registered models, sorted."""
    return sorted(model.name for model in _pages(client.search_registered_models))


def comma_separated(items: Iterable[object]) -> str:
    """Return the items with commas between them; "none" without any."""
    return ", ".join(map(str, items)) or "none"


def _pages(search: "Callable[..., PagedList[Any]]", *query: str) -> Iterator[Any]:
    """Give all pages of a search: pruning would delete the inputs of a version that is missed here."""
    token: str | None = ""
    while token is not None:
        page = search(*query, page_token=token or None)
        yield from page
        token = page.token or None
