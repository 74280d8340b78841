"""The services of one machine: a Prefect server, an MLflow server and a worker, with their environments."""

import os
import socket
import sys
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cl_core import artifact_dir
from tasks.runtime.process_environment import HEARTBEAT_S, inherited
from tasks.runtime.settings import Settings
from tasks.server.access import MLFLOW_AUTHENTICATION, check_bind, is_loopback
from tasks.server.supervisor import Service

LOOPBACK = "127.0.0.1"
_DATABASE = "CL_DATABASE_URL"  # Only the two servers need its password.
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - only with authentication


class Ports(NamedTuple):
    """Ports of the servers."""

    prefect: int = 4200
    mlflow: int = 5000


@dataclass(frozen=True)
class LocalStack:
    """The services of one machine, and the addresses that matter.

    Args:
        settings: Of the folders, the database and the accounts.
        ports: Of the servers.
        work_pool: That the worker serves.
        host: Listen address of the servers; other than loopback only with authentication.
    """

    settings: Settings
    ports: Ports
    work_pool: str
    host: str = LOOPBACK

    def __post_init__(self) -> None:
        check_bind(self.host, self.settings, server="prefect")
        check_bind(self.host, self.settings, server="mlflow")

    @property
    def address(self) -> str:
        """Return the address at which this machine reaches its own servers."""
        return LOOPBACK if self.host in _EVERYWHERE else self.host

    @property
    def prefect_ui(self) -> str:
        """Return the address of Prefect's pages."""
        return f"http://{self.address}:{self.ports.prefect}"

    @property
    def prefect_api(self) -> str:
        """Return the address of Prefect's API."""
        return f"{self.prefect_ui}/api"

    @property
    def mlflow(self) -> str:
        """Return the address of MLflow, for programs and for people."""
        return f"http://{self.address}:{self.ports.mlflow}"

    @property
    def addresses(self) -> dict[str, str]:
        """Return the addresses of the servers, as their clients' environment has them."""
        return {"PREFECT_API_URL": self.prefect_api, "MLFLOW_TRACKING_URI": self.mlflow}

    def client_env(self) -> dict[str, str]:
        """Return the environment of the servers' clients: the worker, its runs, and commands."""
        credentials = {
            "PREFECT_API_AUTH_STRING": self.settings.prefect_account.get_secret_value(),
            "MLFLOW_TRACKING_USERNAME": self.settings.mlflow_admin,
            "MLFLOW_TRACKING_PASSWORD": self.settings.mlflow_admin_password.get_secret_value(),
        }
        return {
            "CL_HOME": str(self.settings.home),
            "PREFECT_HOME": str(self.settings.home / "prefect"),
            **self.addresses,
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
            "DO_NOT_TRACK": "1",
            **(credentials if self.requires_passwords else {}),
        }

    @property
    def requires_passwords(self) -> bool:
        """Whether the servers ask their clients for a password."""
        return not is_loopback(self.host)

    def services(self) -> list[Service]:
        """Return the services in the order of their start."""
        return [self._prefect_server(), self._mlflow_server(), self._worker()]

    def _prefect_server(self) -> Service:
        return Service(
            name="Prefect server",
            command=[*_module("prefect"), "server", "start", "--host", self.host, "--port", str(self.ports.prefect)],
            environment={
                **inherited(_DATABASE),
                **self.client_env(),
                **_prefect_database_env(self.settings.database_url),
                # The address of the API for the pages; unset, they use the default port.
                "PREFECT_UI_API_URL": self.prefect_api,
                "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": self.prefect_ui,
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                # Prefect's own would wait a quarter of an hour for events from before a restart.
                "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "tasks.server.compat",
                # In memory, a restart would free the slots of runs that are still running.
                "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            },
            log=self.settings.logs / "prefect-server.log",
            port=self.ports.prefect,
            health=f"{self.prefect_api}/health",
        )

    def _mlflow_server(self) -> Service:
        artifacts = self.settings.mlflow_artifacts
        # Through the server, artifacts could not be read without it; a machine elsewhere reads them no other way.
        places = [] if self.requires_passwords else ["--default-artifact-root", str(artifacts)]
        folders = ["--artifacts-destination", str(artifacts), *places, "--workers", "1"]
        authentication = MLFLOW_AUTHENTICATION if self.requires_passwords else ()
        return Service(
            name="MLflow server",
            command=[
                *(*_module("mlflow"), "server", "--host", self.host, "--port", str(self.ports.mlflow)),
                *(*folders, *authentication),
            ],
            environment={
                **inherited(_DATABASE, "MLFLOW_TRACKING_URI"),
                # Not on the command line, which every user of the machine can read: it has a password.
                "MLFLOW_BACKEND_STORE_URI": mlflow_database_url(self.settings),
                # Its users are stored beside its database, not in the working folder.
                **(self._remote_env() if self.requires_passwords else {}),
                "MLFLOW_DISABLE_TELEMETRY": "true",
                # Job runners are ten processes that nothing here uses.
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "DO_NOT_TRACK": "1",
            },
            log=self.settings.logs / "mlflow-server.log",
            port=self.ports.mlflow,
            health=f"{self.mlflow}/health",
        )

    def _remote_env(self) -> dict[str, str]:
        """Return MLflow's settings for access from other machines: its users, and the host names it answers to."""
        users = self.settings.mlflow_users
        users.parent.mkdir(parents=True, exist_ok=True)
        artifact_dir.write_text(
            users,
            "[mlflow]\ndefault_permission = READ\n"
            f"database_uri = sqlite:///{self.settings.home / 'mlflow-users.db'}\n"
            f"admin_username = {self.settings.mlflow_admin}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        )
        names = (LOOPBACK, "localhost", self.address, socket.gethostname())
        allowed = self.settings.mlflow_hosts or ",".join(f"{name}:*" for name in names)
        return {"MLFLOW_AUTH_CONFIG_PATH": str(users), "MLFLOW_SERVER_ALLOWED_HOSTS": allowed}

    def _worker(self) -> Service:
        return Service(
            name="worker",
            command=[*_module("prefect"), "worker", "start", "--pool", self.work_pool, "--type", "process"],
            environment={
                **inherited(_DATABASE),
                **self.client_env(),
                # A person who reaches the forms chooses the paths.
                "CL_DATA_ROOTS": self.data_roots,
                "OMP_WAIT_POLICY": "PASSIVE",
            },
            log=self.settings.logs / "worker.log",
        )

    @property
    def data_roots(self) -> str:
        """The folders that runs may use beside CL_HOME; default: the working folder and Debian's datasets."""
        return self.settings.data_roots or os.pathsep.join((str(Path.cwd()), "/usr/share/datasets"))


def _module(name: str) -> list[str]:
    return [sys.executable, "-P", "-m", name]


def _prefect_database_env(database_url: str) -> Mapping[str, str]:
    if not database_url:
        return {}
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": _with_driver(database_url, "postgresql+asyncpg"),
        # Both servers have a table of the same name; `public` has the extension that Prefect searches names with.
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH": "prefect, public",
    }


def mlflow_database_url(settings: Settings) -> str:
    """Return the address of the database that the MLflow server of `cl up` keeps its tables in, with its password."""
    if not settings.database_url:
        return f"sqlite:///{settings.mlflow_database}"
    parts = urllib.parse.urlsplit(_with_driver(settings.database_url, "postgresql+psycopg"))
    options = urllib.parse.urlencode({"options": "-csearch_path=mlflow"})
    return parts._replace(query="&".join(filter(None, (parts.query, options)))).geturl()


def _with_driver(database_url: str, driver: str) -> str:
    return urllib.parse.urlsplit(database_url)._replace(scheme=driver).geturl()
