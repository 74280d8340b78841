"""What runs on one machine: a Prefect server, an MLflow server and a worker, over the folders of CL_HOME."""

import os
import sys
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.services import Service
from tasks.settings import Settings

HOST = "127.0.0.1"
# Runs whose process has gone are noticed by the silence of their heartbeats; the least that Prefect allows.
HEARTBEAT_S = 30


@dataclass(frozen=True)
class Ports:
    """Where the servers listen, on the loopback interface."""

    prefect: int = 4200
    mlflow: int = 5000


@dataclass(frozen=True)
class Operation:
    """The services of one machine, and the addresses that matter.

    Args:
        settings: Where things are kept.
        ports: Where the servers listen.
        work_pool: That the worker serves.
        database_url: `postgresql://USER:PASSWORD@HOST/NAME` for both servers; empty: SQLite files under CL_HOME.
    """

    settings: Settings
    ports: Ports
    work_pool: str
    database_url: str = ""

    @property
    def prefect_api(self) -> str:
        """Address of Prefect's API."""
        return f"http://{HOST}:{self.ports.prefect}/api"

    @property
    def prefect_ui(self) -> str:
        """Address of Prefect's pages."""
        return f"http://{HOST}:{self.ports.prefect}"

    @property
    def mlflow(self) -> str:
        """Address of MLflow, for programs and for people."""
        return f"http://{HOST}:{self.ports.mlflow}"

    @property
    def record(self) -> Path:
        """File that remembers what runs."""
        return self.settings.work / "services.json"

    def for_clients(self) -> dict[str, str]:
        """The environment of whatever talks to these servers: the worker, its runs, and commands."""
        return {
            "CL_HOME": str(self.settings.home),
            "PREFECT_HOME": str(self.settings.home / "prefect"),
            "PREFECT_API_URL": self.prefect_api,
            "MLFLOW_TRACKING_URI": self.mlflow,
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
            "DO_NOT_TRACK": "1",
        }

    def services(self) -> list[Service]:
        """What is started, in order."""
        return [self._prefect_server(), self._mlflow_server(), self._worker()]

    def _prefect_server(self) -> Service:
        return Service(
            name="Prefect server",
            command=[*_module("prefect"), "server", "start", "--host", HOST, "--port", str(self.ports.prefect)],
            environment={
                **_inherited(),
                **self.for_clients(),
                **_for_prefect(self.database_url),
                # The pages are told where the API is; unset, they look at the default port.
                "PREFECT_UI_API_URL": self.prefect_api,
                "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": self.prefect_ui,
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                # In memory, a restart would take the slots of runs that go on.
                "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            },
            log=self.settings.logs / "prefect-server.log",
            port=self.ports.prefect,
            health=f"{self.prefect_api}/health",
        )

    def _mlflow_server(self) -> Service:
        artifacts = self.settings.home / "mlflow-artifacts"
        places = ["--artifacts-destination", str(artifacts), "--workers", "1"]
        return Service(
            name="MLflow server",
            command=[*_module("mlflow"), "server", "--host", HOST, "--port", str(self.ports.mlflow), *places],
            environment={
                **{name: value for name, value in _inherited().items() if name != "MLFLOW_TRACKING_URI"},
                # Not on the command line, which every user of the machine can read.
                "MLFLOW_BACKEND_STORE_URI": _for_mlflow(self.database_url)
                or f"sqlite:///{self.settings.home / 'mlflow.db'}",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                # Of no use here, and it starts processes of its own.
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "DO_NOT_TRACK": "1",
            },
            log=self.settings.logs / "mlflow-server.log",
            port=self.ports.mlflow,
            health=f"{self.mlflow}/health",
        )

    def _worker(self) -> Service:
        return Service(
            name="worker",
            command=[*_module("prefect"), "worker", "start", "--pool", self.work_pool, "--type", "process"],
            environment={**_inherited(), **self.for_clients(), "OMP_WAIT_POLICY": "PASSIVE"},
            log=self.settings.logs / "worker.log",
        )


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]


def _inherited() -> dict[str, str]:
    """The environment without the database's address: only the two servers need its password."""
    return {name: value for name, value in os.environ.items() if name != "CL_DATABASE_URL"}


def _for_prefect(database_url: str) -> Mapping[str, str]:
    if not database_url:
        return {}
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": _with_driver(database_url, "postgresql+asyncpg"),
        # Both servers keep a table of the same name; `public` has the extension that Prefect searches names with.
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH": "prefect, public",
    }


def _for_mlflow(database_url: str) -> str:
    if not database_url:
        return ""
    parts = urllib.parse.urlsplit(_with_driver(database_url, "postgresql+psycopg"))
    options = urllib.parse.urlencode({"options": "-csearch_path=mlflow"})
    return parts._replace(query="&".join(filter(None, (parts.query, options)))).geturl()


def _with_driver(database_url: str, driver: str) -> str:
    return urllib.parse.urlsplit(database_url)._replace(scheme=driver).geturl()
