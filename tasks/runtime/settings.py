"""Settings: where results are kept and which servers are used. They come from the environment, never from a spec."""

import os
from contextvars import ContextVar
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cl_core.errors import InputError

S = TypeVar("S", bound=BaseSettings)

# Fields are variables by their alias. Where they can be given by name too, pydantic-settings reads variables of that
# name as well, and `home` would be the user's HOME: the prefix keeps those apart.
_CONFIG = SettingsConfigDict(
    env_ignore_empty=True, populate_by_name=True, env_prefix="CL__", frozen=True, extra="ignore"
)


class Delays(BaseSettings):
    """Pauses between two tries. Operators and tests may shorten them."""

    model_config = _CONFIG

    retry_s: float = Field(
        5.0,
        validation_alias="CL_RETRY_DELAY_S",
        ge=0,
        allow_inf_nan=False,
        description="Pause before a step is retried after a failure of a machine or network, doubled each time. "
        "Seconds.",
    )
    store_s: float = Field(
        1.0,
        validation_alias="CL_STORE_PAUSE_S",
        ge=0,
        allow_inf_nan=False,
        description="Pause before an MLflow that does not answer is asked again, doubled each time. Seconds.",
    )
    recovery_s: float = Field(
        20.0,
        validation_alias="CL_LOOK_EVERY_S",
        ge=0,
        allow_inf_nan=False,
        description="Interval at which `cl up` looks for runs whose process has exited. Seconds.",
    )


class Settings(BaseSettings):
    """The settings of this process. An empty variable is an unset one."""

    model_config = _CONFIG

    _of_run: ClassVar[ContextVar["Settings | None"]] = ContextVar("settings", default=None)

    home: Path = Field(
        Path(".counterpoint"), validation_alias="CL_HOME", description="Folder of everything that is kept. Path."
    )
    mlflow_address: SecretStr = Field(
        SecretStr(""),
        validation_alias="MLFLOW_TRACKING_URI",
        description="Address of MLflow; default: SQLite under CL_HOME. URI.",
    )
    prefect_api_url: str = Field(
        "",
        validation_alias="PREFECT_API_URL",
        description="Address of the Prefect server's API; default: a temporary server over a database under CL_HOME. "
        "URL.",
    )
    ray_address: str = Field(
        "",
        validation_alias="RAY_ADDRESS",
        description="Address of a Ray cluster; default: a local one, started only for two or more workers. Address.",
    )
    notify: str = Field(
        "",
        validation_alias="CL_NOTIFY",
        description="Prefect notification block that receives failed runs, refused versions and new champions, such as "
        "slack-webhook/team; default: none. TYPE/NAME.",
    )
    database: SecretStr = Field(
        SecretStr(""),
        validation_alias="CL_DATABASE_URL",
        description="PostgreSQL for both servers of `cl up`, as postgresql://USER:PASSWORD@HOST/NAME; default: SQLite "
        "files under CL_HOME. URL.",
    )
    data_roots: str = Field(
        "",
        validation_alias="CL_DATA_ROOTS",
        description="Folders, beside CL_HOME, that the paths in a run's parameters are confined to; default: all paths "
        "are allowed. Paths, separated by colons.",
    )
    worker_flow_run_id: str = Field(
        "",
        validation_alias="PREFECT__FLOW_RUN_ID",
        description="Flow run that a Prefect worker started this process for; set by the worker. UUID.",
    )
    delays: Delays = Field(default_factory=Delays, description="Pauses between two tries.")

    @classmethod
    def from_environment(cls) -> "Settings":
        """Return the settings of the flow run, read when it began; outside a flow run, read them now.

        Raises:
            InputError: When a variable has a value that it cannot have.
        """
        settings = cls._of_run.get() or _read(cls)
        return settings.model_copy(update={"home": settings.home.expanduser().absolute()})

    @classmethod
    def begin_run(cls) -> None:
        """Read the settings that hold until `end_run`."""
        cls._of_run.set(None)
        cls._of_run.set(cls.from_environment())

    @classmethod
    def end_run(cls) -> None:
        """Forget the settings of the flow run, because it has ended."""
        cls._of_run.set(None)

    @property
    def datasets(self) -> Path:
        """Snapshots, by name and digest."""
        return self.home / "datasets"

    @property
    def caches(self) -> Path:
        """Training caches, by snapshot and size."""
        return self.home / "caches"

    @property
    def trainings(self) -> Path:
        """Checkpoints and progress, by training digest."""
        return self.home / "trainings"

    @property
    def initial_weights(self) -> Path:
        """Weights that trainings start from, and which training starts from which."""
        return self.home / "initial_weights"

    @property
    def embeddings(self) -> Path:
        """Features of splits, by the digest of their representation."""
        return self.home / "embeddings"

    @property
    def evaluations(self) -> Path:
        """Scores and predictions, by assessment digest."""
        return self.home / "evaluations"

    @property
    def reports(self) -> Path:
        """HTML reports, by model and version."""
        return self.home / "reports"

    @property
    def work(self) -> Path:
        """Locks, run logs, and files before an upload."""
        return self.home / "work"

    @property
    def runs(self) -> Path:
        """Owner, state and log of each flow run."""
        return self.work / "runs"

    @property
    def up_lock(self) -> Path:
        """Lock of the `cl up` that runs for this home."""
        return self.work / "up.lock"

    @property
    def services(self) -> Path:
        """Record of what `cl up` has started, so that the next one can stop what a killed one left running."""
        return self.work / "services.json"

    @property
    def logs(self) -> Path:
        """Logs of the services that `cl up` runs."""
        return self.home / "logs"

    @property
    def has_prefect(self) -> bool:
        """Whether there is a Prefect server, or the database of the temporary one, to ask."""
        return bool(self.prefect_api_url) or (self.home / "prefect").exists()

    @property
    def tracking_uri(self) -> str:
        """Address of MLflow."""
        return self.mlflow_address.get_secret_value() or f"sqlite:///{self.home / 'mlflow.db'}"

    @property
    def database_url(self) -> str:
        """Address of PostgreSQL with its password; empty for SQLite."""
        return self.database.get_secret_value()

    @property
    def artifact_root(self) -> Path | None:
        """Folder of MLflow's artifacts, unless a server decides.

        None then. MLflow's own default is the working folder.
        """
        return None if self.tracking_uri.startswith(("http://", "https://")) else self.home / "mlflow-artifacts"


def read_delays() -> Delays:
    """Read the pauses.

    Raises:
        InputError: When a variable has a value that it cannot have.
    """
    return _read(Delays)


def _read(settings: type[S]) -> S:
    try:
        return settings()
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{first['loc'][0]}: {first['msg']}; got {first['input']!r}") from error


def embed_prefect(settings: Settings, *, create_home: bool = True) -> None:
    """Let Prefect run without a server of its own; call this before Prefect is imported.

    Variables that are set already stay as they are.

    Args:
        settings: Where Prefect's database is kept.
        create_home: Whether CL_HOME is made when it is missing.
    """
    defaults = {
        # The first start of an empty database takes long on a small machine; Prefect's own limit is 20 s.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # The commands print what happens; the server keeps the run's whole log.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "DO_NOT_TRACK": "1",
    }
    if not settings.prefect_api_url:
        defaults["PREFECT_HOME"] = str(settings.home / "prefect")
        # Prefect creates its folder, but not the one above it.
        if create_home:
            settings.home.mkdir(parents=True, exist_ok=True)
        # Prefect does not take an empty address for none.
        os.environ.pop("PREFECT_API_URL", None)
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
