"""Settings: where things are kept and which servers are used. From the environment, never from a spec.

CL_HOME                 everything Counterpoint keeps; default ./.counterpoint
MLFLOW_TRACKING_URI     MLflow; default SQLite under CL_HOME
PREFECT_API_URL         Prefect; default a temporary server whose database is under CL_HOME
RAY_ADDRESS             Ray; default a local cluster, only for two or more workers
CL_NOTIFY               Prefect notification block, such as slack-webhook/team, that is told of failed runs, refused
                        versions and new champions; default none, and nothing is sent
CL_DATA_ROOTS           folders, separated by colons, that paths among a run's parameters are confined to, beside
                        CL_HOME; default none: all paths may be used (read by cl_core/data/path_roots.py)
CL_RETRY_DELAY_S        and other pauses: tasks/runtime/delays.py
"""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The settings of this process.

    Args:
        home: Absolute folder of everything kept.
    """

    home: Path

    @classmethod
    def from_environment(cls) -> "Settings":
        """What the environment says now."""
        return cls(home=Path(os.environ.get("CL_HOME", ".counterpoint")).expanduser().absolute())

    @property
    def datasets(self) -> Path:
        """Snapshots, by name and digest."""
        return self.home / "datasets"

    @property
    def caches(self) -> Path:
        """Images at training size, by snapshot and size."""
        return self.home / "caches"

    @property
    def trainings(self) -> Path:
        """Checkpoints and progress, by training digest."""
        return self.home / "trainings"

    @property
    def starts(self) -> Path:
        """Weights that trainings start from, and which training starts from which."""
        return self.home / "starts"

    @property
    def embeddings(self) -> Path:
        """Features of splits, by what made them."""
        return self.home / "embeddings"

    @property
    def evaluations(self) -> Path:
        """Scores and predictions, by evaluation digest."""
        return self.home / "evaluations"

    @property
    def reports(self) -> Path:
        """HTML reports, by model and version."""
        return self.home / "reports"

    @property
    def work(self) -> Path:
        """Locks, and files on their way to a server."""
        return self.home / "work"

    @property
    def up_lock(self) -> Path:
        """Held by the `cl up` that runs for this home."""
        return self.work / "up.lock"

    @property
    def services(self) -> Path:
        """What `cl up` has started, so that another can end what a killed one has left."""
        return self.work / "services.json"

    @property
    def logs(self) -> Path:
        """Logs of the services that `cl up` runs."""
        return self.home / "logs"

    @property
    def accounts(self) -> Path:
        """What the steps of each flow run did and cost, a file per flow run."""
        return self.work / "accounts"

    @property
    def notify(self) -> str:
        """Block that is told what happened, as TYPE/NAME; empty without one."""
        return os.environ.get("CL_NOTIFY", "")

    @property
    def has_prefect(self) -> bool:
        """Whether there is a Prefect server, or the database of the temporary one, that could be asked."""
        return "PREFECT_API_URL" in os.environ or (self.home / "prefect").exists()

    @property
    def tracking_uri(self) -> str:
        """Where MLflow is."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.home / 'mlflow.db'}"

    @property
    def artifact_root(self) -> Path | None:
        """Where MLflow's artifacts go when no server decides; left alone, MLflow puts them into the working folder."""
        return None if self.tracking_uri.startswith(("http://", "https://")) else self.home / "mlflow-artifacts"


def embed_prefect(settings: Settings, *, create_home: bool = True) -> None:
    """Let Prefect run without a server of its own: to be called before Prefect is imported.

    What the environment sets stays as it is.
    """
    defaults = {
        # The first start of an empty database takes long on a small machine; Prefect's own limit is 20 s.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # The commands say themselves what happens; the run's whole log is kept by the server.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "DO_NOT_TRACK": "1",
    }
    if "PREFECT_API_URL" not in os.environ:
        defaults["PREFECT_HOME"] = str(settings.home / "prefect")
        # Prefect makes its folder, but not the one above it.
        if create_home:
            settings.home.mkdir(parents=True, exist_ok=True)
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
