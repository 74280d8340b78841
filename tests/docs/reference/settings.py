"""The settings: environment variables that Counterpoint, and the servers it starts, read."""

import re
from typing import Any

from reference.markdown import code, docstring, document, table
from tasks.runtime import delays, settings

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

_UP = (
    "CL_DATABASE_URL",
    "",
    "`postgresql://USER:PASSWORD@HOST/NAME`: `cl up` keeps both servers' tables there; unset, in SQLite files.",
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
        "Prefect and MLflow define these variables. `cl up --host` needs some of them: see [Security](../security.md).",
        table(("variable", "meaning"), ((", ".join(map(code, name.split(", "))), text) for name, text in _SERVERS)),
    )


def variables() -> set[str]:
    """Return the names of all variables on the page."""
    return set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", page()))


def _rows() -> list[tuple[str, str, str]]:
    fields: dict[str, Any] = {
        name: field
        for group in (settings.Settings, settings.Delays)
        for name, field in group.model_fields.items()
        if name != "delays"
    }
    prefix = str(getattr(settings.Settings, "model_config", {}).get("env_prefix", ""))
    rows = [_row(prefix, name, field) for name, field in fields.items()] or _documented()
    known = " ".join(name for name, *_ in rows)
    return rows if _UP[0] in known else [*rows, (code(_UP[0]), *_UP[1:])]


def _row(prefix: str, name: str, field: Any) -> tuple[str, str, str]:
    alias = field.validation_alias or field.alias or f"{prefix}{name}"
    names = [str(choice) for choice in getattr(alias, "choices", [alias])]
    default = "" if field.default_factory or field.is_required() or field.default in (None, "") else code(field.default)
    return ", ".join(code(each.upper()) for each in names), default, field.description or ""


def _documented() -> list[tuple[str, str, str]]:
    """Return the variables that the modules' docstrings list, one a paragraph of two columns."""
    rows: list[list[str]] = []
    lines = [line for line in docstring(settings).splitlines() if "other pauses" not in line]
    for line in [*lines, *docstring(delays).splitlines()]:
        if match := re.match(r"([A-Z]+(?:_[A-Z]+)+) {2,}(.*)", line):
            rows.append([match[1], match[2]])
        elif rows and line.startswith("  "):
            rows[-1][1] += " " + line.strip()
    return [(code(name), "", text) for name, text in rows]
