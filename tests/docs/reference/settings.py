"""The settings: environment variables that Counterpoint, and the servers it starts, read."""

import re

from pydantic_settings import BaseSettings

from reference.markdown import code, document, table
from tasks.runtime.settings import Settings

_SERVERS = (
    ("MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD", "Account at an MLflow server that asks for one."),
    ("MLFLOW_TRACKING_TOKEN", "A token, instead of the account."),
    ("PREFECT_API_AUTH_STRING", "`USER:PASSWORD` at a Prefect server that asks for one."),
    ("PREFECT_SERVER_API_AUTH_STRING", "`USER:PASSWORD` that the Prefect server of `cl up` asks for."),
    ("MLFLOW_AUTH_ADMIN_USERNAME", "Administrator of the MLflow server of `cl up`; default `admin`."),
    ("MLFLOW_AUTH_ADMIN_PASSWORD", "The administrator's password."),
    ("MLFLOW_FLASK_SERVER_SECRET_KEY", "Key that signs the sessions of MLflow's users."),
    ("MLFLOW_SERVER_ALLOWED_HOSTS", "Names under which the MLflow server of `cl up` answers."),
)


def page() -> str:
    """Return the page of the settings."""
    return document(
        "Settings",
        "Settings are environment variables. They say where things are kept and which servers are used; "
        "what a training does is in the [specs](specs.md). An empty variable counts as unset.",
        "## Counterpoint",
        table(("variable", "default", "meaning"), _rows(Settings)),
        "## Accounts and passwords",
        "Prefect and MLflow define these variables. `cl up --host` needs some of them: see [Security](../security.md).",
        table(("variable", "meaning"), ((", ".join(map(code, name.split(", "))), text) for name, text in _SERVERS)),
    )


def variables() -> set[str]:
    """Return the names of all variables on the page."""
    return set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", page()))


def _rows(group: type[BaseSettings]) -> list[tuple[str, str, str]]:
    """Return a row for each variable; those of a group in a group follow."""
    rows, nested = [], []
    for field in group.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseSettings):
            nested += _rows(field.annotation)
        elif not str(field.validation_alias).startswith("PREFECT__"):  # Prefect's worker sets those.
            default = "" if str(field.default) in ("None", "") else code(field.default)  # A secret's text is hidden.
            rows.append((code(field.validation_alias), default, field.description or ""))
    return [*rows, *nested]
