"""Connections to MLflow. They print nothing; when one fails, the error names the address and the remedy."""

import contextlib
import errno
import logging
import re
import ssl
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from cl_core.errors import InfrastructureError, InputError, StorageFullError, StoreUnreachableError
from tasks.adapters.mlflow.artifact_locations import check_not_moved
from tasks.adapters.mlflow.compat import WITHOUT_SERVER, import_pytorch_flavor, process_tracking_uri
from tasks.runtime.process_environment import set_defaults
from tasks.runtime.settings import Settings, is_server

if TYPE_CHECKING:
    from mlflow import MlflowClient

# A server that is down is probed at 0, 1, 3 and 7 seconds; at most 19 s when it drops every packet.
# The caller may retry after a longer pause.
_PAUSES = (1, 2, 4)
_PROBE_TIMEOUT_S = 3
# Answers of a proxy whose server is down.
_SERVER_IS_DOWN = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)

_HOST = re.compile(r"([\w.-]*|\[[0-9A-Fa-f:.]+\])(:\d+)?")

_REFUSALS = {
    "UNAUTHENTICATED": HTTPStatus.UNAUTHORIZED,
    "CUSTOMER_UNAUTHORIZED": HTTPStatus.UNAUTHORIZED,
    "PERMISSION_DENIED": HTTPStatus.FORBIDDEN,
}

# Settings of MLflow, unless the environment has them. MLflow's defaults retry for minutes and print to the terminal.
_ENVIRONMENT = {
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@contextlib.contextmanager
def connected(tracking_uri: str) -> Iterator["MlflowClient"]:
    """Give a client of the store at `tracking_uri`; a SQLite store is created when there is none.

    Raises:
        StoreUnreachableError: When nothing answers there, or the connection is lost.
        StorageFullError: When the disk of the database or of the artifacts is full.
        InputError: When the address is not that of a database, the server refuses access, or the home has moved.
    """
    # Before MLflow is imported, because it reads some of them then.
    set_defaults(_ENVIRONMENT)
    if tracking_uri.startswith("sqlite:///"):
        Path(tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    _wait_for_answer(tracking_uri)
    import mlflow

    # At INFO it logs each table that it creates.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with process_tracking_uri(tracking_uri), errors_translated(tracking_uri):
        check_not_moved(Settings.from_environment(), tracking_uri)
        yield mlflow.MlflowClient(tracking_uri, registry_uri=tracking_uri)


def pytorch_flavor() -> ModuleType:
    """Return MLflow's module that saves and loads programs of torch; its import takes seconds."""
    set_defaults(_ENVIRONMENT)
    return import_pytorch_flavor()


@contextlib.contextmanager
def errors_translated(tracking_uri: str) -> Iterator[None]:
    """Turn a lost connection, a refusal, a locked database or a full disk into an error that names the store."""
    import requests
    import sqlalchemy
    from mlflow.exceptions import MlflowException

    lost = (requests.ConnectionError, requests.Timeout, requests.exceptions.RetryError)
    try:
        yield
    except (MlflowException, OSError, sqlalchemy.exc.SQLAlchemyError) as error:
        for cause in _causes(error):
            of_database = isinstance(cause, sqlalchemy.exc.OperationalError)
            no_space = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
            if no_space or (of_database and "disk is full" in str(cause)):
                raise StorageFullError(
                    f"no space left for MLflow at {redacted_uri(tracking_uri)} or its artifacts; free some space and "
                    "run the same command again: what is registered already is kept"
                ) from error
            busy = isinstance(cause, MlflowException) and cause.error_code == "TEMPORARILY_UNAVAILABLE"
            if busy or of_database or isinstance(cause, lost):
                raise _unreachable(tracking_uri, cause) from error
            if isinstance(cause, MlflowException) and WITHOUT_SERVER in str(cause):
                raise InputError(
                    f"artifacts recorded in {redacted_uri(tracking_uri)} can be loaded only through the MLflow server "
                    "of `cl up`; start `cl up`, or record them as files with `cl doctor --fix`"
                ) from error
            if (status := _refused(cause)) is not None:
                raise _forbidden(tracking_uri, status) from error
        raise


def _refused(cause: BaseException) -> HTTPStatus | None:
    """Return 401 or 403 when the server answered with it, to a call of its API or for an artifact."""
    if code := getattr(cause, "error_code", ""):
        return _REFUSALS.get(code)
    answer = getattr(cause, "response", None)
    return next((status for status in _REFUSALS.values() if answer is not None and status == answer.status_code), None)


def redacted_uri(tracking_uri: str) -> str:
    """Return the address without user, password and query, fit for a message, a page or a log."""
    place, _, _ = tracking_uri.partition("?")
    scheme, separator, rest = place.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    # A slash in a password ends what looks like the host; a host and a port look otherwise.
    if "@" in path and not _HOST.fullmatch(authority):
        return f"{scheme}{separator}{path.rpartition('@')[2]}"
    return place


def _probe_server(tracking_uri: str) -> None:
    """Return when a server answers; MLflow itself reports a server that wants a password."""
    import httpx

    address = f"{redacted_uri(tracking_uri).rstrip('/')}/health"
    # httpx would read a file of certificates for http, too.
    verify = ssl.create_default_context() if address.startswith("https://") else False
    answer = httpx.get(address, timeout=_PROBE_TIMEOUT_S, verify=verify)
    if answer.status_code in _SERVER_IS_DOWN:
        answer.raise_for_status()


def _probe_database(tracking_uri: str) -> None:
    """Return when a database answers; MLflow itself would retry for half an hour."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(tracking_uri)
    try:
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def _wait_for_answer(tracking_uri: str) -> None:
    import httpx
    import sqlalchemy

    probe = _probe_server if is_server(tracking_uri) else _probe_database
    for pause in (*_PAUSES, None):
        try:
            probe(tracking_uri)
            return
        except (OSError, httpx.HTTPError, sqlalchemy.exc.OperationalError) as error:
            if pause is None:
                raise _unreachable(tracking_uri, error) from error
        except sqlalchemy.exc.DatabaseError as error:
            raise InputError(
                f"cannot read MLflow's database at {redacted_uri(tracking_uri)} ({_first_line(error)}); "
                "restore it from a backup, or move it away to start an empty one"
            ) from error
        except (httpx.InvalidURL, sqlalchemy.exc.ArgumentError, ImportError) as error:
            raise InputError(
                f"MLFLOW_TRACKING_URI: cannot use the address {redacted_uri(tracking_uri)} ({type(error).__name__}); "
                "give sqlite:///PATH, the address of another database whose driver is installed, or http(s)"
            ) from None  # The cause would repeat the address with its password.
        time.sleep(pause * Settings.from_environment().store_pause_s)


def _unreachable(tracking_uri: str, cause: BaseException) -> InfrastructureError:
    return StoreUnreachableError(
        f"MLflow at {redacted_uri(tracking_uri)} does not answer ({_first_line(cause)}); start it, or correct the "
        "setting MLFLOW_TRACKING_URI (unset, it is a database under CL_HOME), and run the same command again"
    )


def _forbidden(tracking_uri: str, status: HTTPStatus) -> InputError:
    from mlflow import environment_variables as variables

    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
    names_set = [name for name in names if getattr(variables, name).get()]
    return InputError(
        f"MLflow at {redacted_uri(tracking_uri)} refuses access ({status.value} {status.phrase}); set "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to an account that may read "
        f"and register there (set now: {', '.join(names_set) or 'none'}), and run the same command again"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
