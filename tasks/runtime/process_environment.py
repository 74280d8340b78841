"""The environment of this process: nothing else reads or writes it, except the settings and the roots of paths.

Prefect, MLflow, Ray and torch read their variables when they are imported, and child processes inherit them. So those
are written here, before; what a person has set is kept.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tasks.runtime.settings import Settings

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Of every child process: it imports nothing from the folder that it is started in, such as a `tasks.py` there."""


def set_defaults(variables: Mapping[str, str]) -> None:
    """Set the variables that are not set."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def set_variables(variables: Mapping[str, str]) -> None:
    """Set variables, whatever they were."""
    os.environ.update(variables)


def inherited(*without: str) -> dict[str, str]:
    """Return the environment for a child process, without some variables."""
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
        }
    )
    if not settings.prefect_api_url:
        set_defaults({"PREFECT_HOME": str(settings.home / "prefect")})
        # Prefect does not take an empty address for none.
        os.environ.pop("PREFECT_API_URL", None)
