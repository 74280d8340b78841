"""The environment of this process: nothing else reads or writes it, except the settings and the roots of paths.

Prefect, MLflow, Ray and torch read their variables when they are imported, and child processes inherit them. So those
are written here, before; what a person has set is kept.
"""

import functools
import inspect
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import DotEnvSettingsSource
from pydantic_settings.sources import ConfigFileSourceMixin

from cl_core.errors import InputError
from tasks.runtime.settings import TEMPORARY_PREFECT, Settings

# The automations notice a dead process by its missing heartbeats. 30 s is the least that Prefect allows.
HEARTBEAT_S = 30
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_OURS = ("CL_", "MLFLOW_", "PREFECT_", "RAY_")
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


def unset_empty() -> None:
    """Remove the variables of this project and its servers that are empty: to Prefect, some of them would be set."""
    for name in [name for name, value in os.environ.items() if name.startswith(_OURS) and not value.strip()]:
        del os.environ[name]


def keep_prefect_from_files() -> None:
    """Keep Prefect from settings in files of the working folder, which are another project's.

    Prefect reads `.env`, `prefect.toml` and `pyproject.toml` there, whenever it makes its settings, and no setting
    prevents that. A file that it cannot read ends the command.
    https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/settings/sources.py
    """
    for source, name in ((DotEnvSettingsSource, "_read_env_files"), (ConfigFileSourceMixin, "_read_files")):
        setattr(source, name, _without_files_for_prefect(inspect.unwrap(getattr(source, name))))


def _without_files_for_prefect(read: Any) -> Any:
    @functools.wraps(read)
    def reading(self: Any, *files: Any, **options: Any) -> Any:
        return {} if self.settings_cls.__module__.startswith("prefect.") else read(self, *files, **options)

    return reading


def use_prefect_of(home: Path) -> None:
    """Let Prefect keep its files and profiles under this CL_HOME, whichever another project uses."""
    folder = home / "prefect"
    os.environ.pop("PREFECT_PROFILE", None)
    set_variables({"PREFECT_HOME": str(folder), "PREFECT_PROFILES_PATH": str(folder / "profiles.toml")})


def embed_prefect(settings: Settings, temporary_url: str) -> None:
    """Let Prefect use a temporary server where no other one is named; call this before Prefect is imported.

    Args:
        settings: Of this process.
        temporary_url: Address of the API of the temporary server, which may be started later.
    """
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
    if settings.prefect_api_url:
        _check_profiles()
        return
    use_prefect_of(settings.home)
    set_variables({"PREFECT_API_URL": temporary_url, TEMPORARY_PREFECT: temporary_url})


def _check_profiles() -> None:
    """Name the file of Prefect's profiles, so that none is looked up in the working folder, and check it.

    Raises:
        InputError: When Prefect could not read it.
    """
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    set_defaults({"PREFECT_PROFILES_PATH": str(home / "profiles.toml")})
    path = Path(os.environ["PREFECT_PROFILES_PATH"])
    try:
        tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass  # Prefect has a profile of its own then.
    except (OSError, ValueError) as error:
        raise InputError(
            f"PREFECT_PROFILES_PATH: Prefect cannot read its profiles in {path} ({error}); correct that file, or name "
            "another one, which may be missing"
        ) from error


def refused_setting(error: ValidationError) -> InputError | None:
    """Return which variable Prefect refuses when it is imported, with its value; None for another error."""
    if not error.title.endswith("Settings"):
        return None
    problem = error.errors(include_url=False)[0]
    value, message = problem["input"], problem["msg"]
    named = (name for name, text in os.environ.items() if name.startswith("PREFECT_") and text == value)
    variable, wanted = next(named, "a variable PREFECT_..."), message[0].lower() + message[1:]
    return InputError(f"{variable}: {wanted}; got {value!r}; correct or unset it")
