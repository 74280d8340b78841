"""The settings: environment variables that Counterpoint, and the servers it starts, read."""

import re

from reference.markdown import code, document, table
from tasks.runtime.settings import Settings

_ACCOUNTS = (
    ("MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD", "Account at an MLflow server that asks for one."),
    ("MLFLOW_TRACKING_TOKEN", "A token, instead of the account."),
    ("PREFECT_API_AUTH_STRING", "`USER:PASSWORD` at a Prefect server that asks for one."),
)


def page() -> str:
    """Return the page of the settings."""
    return document(
        "Settings",
        "Settings are environment variables. They say where things are kept and which servers are used; "
        "what a training does is in the [specs](specs.md). An empty variable counts as unset.",
        "## Counterpoint",
        table(("variable", "default", "meaning"), _rows()),
        "## Accounts and passwords",
        "Prefect and MLflow define and read these variables. `cl up --host` needs accounts for its servers too: see "
        "[Security](../security.md).",
        table(("variable", "meaning"), ((", ".join(map(code, name.split(", "))), text) for name, text in _ACCOUNTS)),
    )


def variables() -> set[str]:
    """Return the names of all variables on the page."""
    return set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", page()))


def _rows() -> list[tuple[str, str, str]]:
    """Return a row for each variable."""
    return [
        (
            code(field.validation_alias),
            "" if str(field.default) in ("None", "") else code(field.default),
            " ".join(field.description.split()),
        )
        for field in Settings.model_fields.values()
        if not field.validation_alias.startswith("PREFECT__")  # Prefect's worker sets those.
    ]
