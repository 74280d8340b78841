"""The environment of this process: nothing else reads or writes it, except the settings and the roots of paths.

Prefect, MLflow, Ray and torch read their variables when they are imported, and child processes inherit them. So those
are written here, before; what a person has set is kept.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cl_core.errors import InputError
from tasks.runtime.settings import Settings

# The automations notice a dead process by its missing heartbeats. 30 s is the least that Prefect allows.
HEARTBEAT_S = 30
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# What says where runs go, and how files name it.
_DECIDED_IN_FILES = {
    "PREFECT_API_URL": ("PREFECT_API_URL", "api.url"),
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": (
        "PREFECT_SERVER_DATABASE_CONNECTION_URL",
        "PREFECT_API_DATABASE_CONNECTION_URL",
        "database",
    ),
}
# Of MLflow's clients and servers. Models are registered where their runs are recorded, and nowhere else.
_REGISTRIES = ("MLFLOW_REGISTRY_URI", "MLFLOW_REGISTRY_STORE_URI")
SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Of every child process: it imports nothing from the folder that it is started in, such as a `tasks.py` there."""


def set_defaults(variables: Mapping[str, str]) -> None:
    """Set the variables that are not set, or empty."""
    for name, value in variables.items():
        if not os.environ.get(name):
            os.environ[name] = value


def set_variables(variables: Mapping[str, str]) -> None:
    """Set variables, whatever they were."""
    os.environ.update(variables)


def inherited(*without: str) -> dict[str, str]:
    """Return the environment for a child process, without some variables."""
    without = (*without, *_REGISTRIES)
    return {**{name: value for name, value in os.environ.items() if name not in without}, **SAFE_PATH}


@contextmanager
def restored(name: str) -> Iterator[None]:
    """Set a variable back after the body, to what it was or to nothing."""
    before = os.environ.get(name)
    try:
        yield
    finally:
        os.environ.pop(name, None)
        set_defaults({} if before is None else {name: before})


def keep_loopback_direct() -> None:
    """Let no request to this machine's own servers go through a proxy, which cannot reach them."""
    for name in ("no_proxy", "NO_PROXY"):
        before = [host for host in os.environ.get(name, "").split(",") if host]
        if "*" not in before:
            os.environ[name] = ",".join([*before, *(host for host in _LOOPBACK if host not in before)])


def refuse_prefect_files(folder: Path) -> None:
    """Refuse a folder whose files would make Prefect ask another project's server or database.

    Raises:
        InputError: When its `.env`, `prefect.toml` or `pyproject.toml` names one, and the environment does not.
    """
    for file, values in _prefect_files(folder):
        for name, keys in _DECIDED_IN_FILES.items():
            if name not in os.environ and any(values.get(key) for key in keys):
                raise InputError(
                    f"Prefect reads {file}, which sets {name}: runs would go to another project's server; set {name} "
                    "itself if that is wanted, or run the command from another folder"
                )


def _prefect_files(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the files from which Prefect takes settings, and their values; of TOML the tables `api` and `server`."""
    import dotenv

    if (env := folder / ".env").is_file():
        yield env, dict(dotenv.dotenv_values(env))
    for name, above in (("prefect.toml", ()), ("pyproject.toml", ("tool", "prefect"))):
        path = folder / name
        with suppress(OSError, ValueError):
            table = tomllib.loads(path.read_text(encoding="utf-8"))
            for key in above:
                table = table.get(key, {})
            server = table.get("server", {})
            yield (
                path,
                {
                    "api.url": table.get("api", {}).get("url"),
                    "database": server.get("database", {}).get("connection_url"),
                },
            )


def embed_prefect(settings: Settings) -> None:
    """Let Prefect run without a server of its own; call this before Prefect is imported."""
    set_defaults(
        {
            # The first start of an empty database takes long on a small machine; Prefect's own limit is 20 s.
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # The commands print what happens; the server keeps the run's whole log.
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
            "DO_NOT_TRACK": "1",
            # The automations of a `cl up` take a run for dead whose heartbeats are missing.
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
        }
    )
    if not settings.prefect_api_url:
        set_defaults({"PREFECT_HOME": str(settings.home / "prefect")})
        # Prefect does not take an empty address for none.
        os.environ.pop("PREFECT_API_URL", None)
