"""Settings: where results are kept and which servers are used. They come from the environment, never from a spec."""

import tempfile
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cl_core.errors import InputError

# They have a meaning in the addresses of databases and artifacts, which SQLAlchemy and MLflow read differently.
_NOT_IN_HOME = "?#%"

TEMPORARY_PREFECT = "CL_TEMPORARY_PREFECT"
"""Variable with the address of the command's own Prefect server, which counts as none."""
WORKER_FLOW_RUN = "PREFECT__FLOW_RUN_ID"
"""Variable in which a Prefect worker tells a process which flow run it was started for."""

_Pause = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Of a pause between two tries; operators and tests may shorten it. Seconds."""


class _Place(property):
    """A file or folder under CL_HOME."""

    def __init__(self, path: str, content: str) -> None:
        super().__init__(lambda settings: settings.home / path)
        self.__doc__ = content

    def __get__(self, settings: Any, owner: type | None = None) -> Path:  # type: ignore[override]
        place: Path = super().__get__(settings, owner)
        return place


class Settings(BaseSettings):
    """The settings of this process. An empty variable is an unset one."""

    # Fields are variables by their alias. Where they can be given by name too, pydantic-settings reads variables of
    # that name as well, and `home` would be the user's HOME: the prefix keeps those apart.
    model_config = SettingsConfigDict(
        env_ignore_empty=True,
        populate_by_name=True,
        env_prefix="CL__",
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    # Of the runs that this one is nested in, and of itself: id and settings, the innermost last.
    _of_runs: ClassVar[ContextVar[tuple[tuple[str, "Settings"], ...]]] = ContextVar("settings", default=())

    home: Path = Field(Path(".counterpoint"), validation_alias="CL_HOME")
    """Folder of everything that is kept; its path has no ?, # or %. Path."""
    mlflow_address: SecretStr = Field(SecretStr(""), validation_alias="MLFLOW_TRACKING_URI")
    """Address of MLflow; default: SQLite under CL_HOME. URI."""
    prefect_api_url: str = Field("", validation_alias="PREFECT_API_URL")
    """Address of the Prefect server's API; default: a temporary server over a database under CL_HOME. URL."""
    temporary_prefect_url: str = Field("", validation_alias=TEMPORARY_PREFECT)
    """Address of the API of a command's temporary Prefect server; set by the command. URL."""
    ray_address: str = Field("", validation_alias="RAY_ADDRESS")
    """Address of a Ray cluster; default: a local one, started only for two or more workers. Address."""
    notify: str = Field("", validation_alias="CL_NOTIFY")
    """Prefect notification block that receives failed runs, refused versions and new champions, such as
    slack-webhook/team; default: none. TYPE/NAME."""
    database: SecretStr = Field(SecretStr(""), validation_alias="CL_DATABASE_URL")
    """PostgreSQL for both servers of `cl up`, as postgresql://USER:PASSWORD@HOST/NAME; default: SQLite files under
    CL_HOME. URL."""
    data_roots: str = Field("", validation_alias="CL_DATA_ROOTS")
    """Folders, beside CL_HOME, that the paths in a run's parameters are confined to; default: all paths are
    allowed. Paths, separated by colons."""
    prefect_account: SecretStr = Field(SecretStr(""), validation_alias="PREFECT_SERVER_API_AUTH_STRING")
    """Account that the Prefect server of `cl up` asks for. USER:PASSWORD."""
    mlflow_admin: str = Field("admin", validation_alias="MLFLOW_AUTH_ADMIN_USERNAME")
    """Administrator of the MLflow server of `cl up`. Name."""
    mlflow_admin_password: SecretStr = Field(SecretStr(""), validation_alias="MLFLOW_AUTH_ADMIN_PASSWORD")
    """The administrator's password. Text."""
    mlflow_session_key: SecretStr = Field(SecretStr(""), validation_alias="MLFLOW_FLASK_SERVER_SECRET_KEY")
    """Key that signs the sessions of MLflow's users. Text."""
    mlflow_hosts: str = Field("", validation_alias="MLFLOW_SERVER_ALLOWED_HOSTS")
    """Names under which the MLflow server of `cl up` answers other machines; default: this machine's. HOST:PORT,
    separated by commas."""
    worker_flow_run_id: str = Field("", validation_alias=WORKER_FLOW_RUN)
    """Flow run that a Prefect worker started this process for; set by the worker. UUID."""
    retry_delay_s: _Pause = Field(5.0, validation_alias="CL_RETRY_DELAY_S")
    """Pause before a step is retried after a failure of a machine or network, doubled each time. Seconds."""
    store_pause_s: _Pause = Field(1.0, validation_alias="CL_STORE_PAUSE_S")
    """Pause before an MLflow that does not answer is asked again, doubled each time. Seconds."""
    look_every_s: _Pause = Field(20.0, validation_alias="CL_LOOK_EVERY_S")
    """Interval at which `cl up` looks for runs whose process has exited. Seconds."""
    debug: bool = Field(False, validation_alias="CL_DEBUG")
    """Show the traceback of an error that is not foreseen, instead of keeping it in a file. 0 or 1."""

    @model_validator(mode="before")
    @classmethod
    def _without_temporary_prefect(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Count the temporary server as none: it has no other runs, no deployments and no worker."""
        temporary = values.get(TEMPORARY_PREFECT)
        return {name: value for name, value in values.items() if name != "PREFECT_API_URL" or value != temporary}

    @classmethod
    def from_environment(cls) -> "Settings":
        """Return the settings of the flow run, read when it began; outside a flow run, read them now.

        Raises:
            InputError: When a variable has a value that it cannot have.
        """
        try:
            runs = cls._of_runs.get()
            settings = runs[-1][1] if runs else cls()
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(f"{first['loc'][0]}: {first['msg']}; got {first['input']!r}") from error
        home = settings.home.expanduser().absolute()
        if any(character in str(home) for character in _NOT_IN_HOME):
            raise InputError(
                f"CL_HOME: wanted a folder without {', '.join(_NOT_IN_HOME)} in its path, which addresses of databases "
                f"cannot have; got {home}"
            )
        return settings.model_copy(update={"home": home})

    def make_home(self) -> None:
        """Make the home unless it exists, and check that it can be written.

        Raises:
            InputError: When it cannot.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.home):
                pass
        except OSError as error:
            raise InputError(
                f"CL_HOME: cannot write in the folder {self.home} ({error.strerror}); make it writable, or set CL_HOME "
                "to another one"
            ) from error

    @classmethod
    def begin_run(cls, run: str) -> None:
        """Read the settings that hold until `end_run`, or until a run nested in this one begins. `run` is its id."""
        cls.end_run(run)
        around = cls._of_runs.get()
        cls._of_runs.set(())
        try:
            around = (*around, (run, cls.from_environment()))
        finally:
            cls._of_runs.set(around)

    @classmethod
    def end_run(cls, run: str) -> None:
        """Forget the settings of a flow run that has ended; those of the run that it is nested in hold again."""
        runs = cls._of_runs.get()
        at = next((place for place, (name, _) in enumerate(runs) if name == run), len(runs))
        cls._of_runs.set(runs[:at])

    datasets: ClassVar[_Place] = _Place("datasets", "Snapshots, by name and digest.")
    caches: ClassVar[_Place] = _Place("caches", "Training caches, by snapshot and size.")
    trainings: ClassVar[_Place] = _Place("trainings", "Checkpoints and progress, by training digest.")
    initial_weights: ClassVar[_Place] = _Place(
        "initial_weights", "Weights that trainings start from, and which training starts from which."
    )
    embeddings: ClassVar[_Place] = _Place("embeddings", "Features of splits, by the digest of their representation.")
    evaluations: ClassVar[_Place] = _Place("evaluations", "Scores and predictions, by assessment digest.")
    reports: ClassVar[_Place] = _Place("reports", "HTML reports, by model and version.")
    work: ClassVar[_Place] = _Place("work", "Locks, run logs, and files before an upload.")
    runs: ClassVar[_Place] = _Place("work/runs", "Owner, state and log of each flow run.")
    up_lock: ClassVar[_Place] = _Place("work/up.lock", "Lock of the `cl up` that runs for this home.")
    services: ClassVar[_Place] = _Place(
        "work/services.json",
        "Record of what `cl up` has started, so that the next one can stop what a killed one left running.",
    )
    addresses: ClassVar[_Place] = _Place(
        "work/addresses.json", "Addresses of the servers of the `cl up` that runs, for commands in other terminals."
    )
    logs: ClassVar[_Place] = _Place("logs", "Logs of the services that `cl up` runs.")
    mlflow_database: ClassVar[_Place] = _Place(
        "mlflow.db", "Database of MLflow, unless MLFLOW_TRACKING_URI or CL_DATABASE_URL names another."
    )
    mlflow_artifacts: ClassVar[_Place] = _Place("mlflow-artifacts", "Artifacts of the MLflow of this home.")
    mlflow_users: ClassVar[_Place] = _Place(
        "work/mlflow-users.ini", "Settings of MLflow's authentication; `cl up` writes it where other machines reach it."
    )
    backups: ClassVar[_Place] = _Place(
        "backups", "Copies of MLflow's database from before `cl doctor --fix` changed it, by time."
    )

    @property
    def has_prefect(self) -> bool:
        """Whether there is a Prefect server, or the database of the temporary one, to ask."""
        return bool(self.prefect_api_url) or (self.home / "prefect").exists()

    @property
    def tracking_uri(self) -> str:
        """Address of MLflow."""
        return self.mlflow_address.get_secret_value() or f"sqlite:///{self.mlflow_database}"

    @property
    def database_url(self) -> str:
        """Address of PostgreSQL with its password; empty for SQLite."""
        return self.database.get_secret_value()

    @property
    def artifact_root(self) -> Path | None:
        """Folder of MLflow's artifacts, unless a server decides.

        None then. MLflow's own default is the working folder.
        """
        return None if is_server(self.tracking_uri) else self.mlflow_artifacts


def is_server(tracking_uri: str) -> bool:
    """Whether MLflow is a server there, and no database."""
    return tracking_uri.startswith(("http://", "https://"))
