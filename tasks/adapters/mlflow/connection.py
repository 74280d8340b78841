"""Reaching MLflow: quietly when it works, and with the address and the remedy when it does not."""

import contextlib
import errno
import logging
import os
import re
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from cl_core.errors import InfrastructureError, InputError, StorageFullError, StoreUnreachableError
from tasks.runtime.settings import read_delays

if TYPE_CHECKING:
    from mlflow import MlflowClient

# A server that is down is asked at 0, 1, 3 and 7 seconds, then given up: at most 19 s when it swallows every packet.
# Who called may retry after a longer pause.
_PAUSES_S = tuple(factor * read_delays().store_s for factor in (1, 2, 4))
_PROBE_TIMEOUT_S = 3
_LIGHTNING = "mlflow.pytorch._lightning_autolog"

_HOST = re.compile(r"([\w.-]*|\[[0-9A-Fa-f:.]+\])(:\d+)?")

_REFUSALS = {
    "UNAUTHENTICATED": HTTPStatus.UNAUTHORIZED,
    "CUSTOMER_UNAUTHORIZED": HTTPStatus.UNAUTHORIZED,
    "PERMISSION_DENIED": HTTPStatus.FORBIDDEN,
}
_CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")

# Read by MLflow; what a person has set is kept. Its own defaults retry for minutes and print to the terminal.
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
    """A client of the store at `tracking_uri`; a SQLite store is created when there is none.

    MLflow resolves addresses such as `models:/m-...` through the address of the process, so that is set as well.

    Raises:
        StoreUnreachableError: When nothing answers there, or the connection is lost on the way.
        StorageFullError: When the disk of the database or of the artifacts is full.
        InputError: When what stands there is no database, or refuses who asks.
    """
    _configure()
    if tracking_uri.startswith("sqlite:///"):
        Path(tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    _wait_for_answer(tracking_uri)
    import mlflow

    # At INFO it tells of each table that it creates.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # MLflow writes the address into the environment too; left there, it would become a setting that nobody made.
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(tracking_uri)
    try:
        with _failures_named(tracking_uri):
            yield mlflow.MlflowClient(tracking_uri, registry_uri=tracking_uri)
    finally:
        if before is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        else:
            os.environ["MLFLOW_TRACKING_URI"] = before


def pytorch_flavor() -> ModuleType:
    """MLflow's module that saves and loads programs of torch; it takes seconds to import."""
    _configure()
    with warnings.catch_warnings():
        # MLflow warns about type hints of its own when it is imported.
        warnings.filterwarnings("ignore", "(?s).*Any type hint is inferred as AnyType", UserWarning)
        import mlflow.pyfunc

        # Where Lightning is installed MLflow imports it, with all it finds: 4 s, and a handler on the root logger.
        hidden = sys.modules.setdefault(_LIGHTNING, None) is None  # type: ignore[arg-type]
        import mlflow.pytorch
    if hidden:
        del sys.modules[_LIGHTNING]
    return mlflow.pytorch


def _configure() -> None:
    """Before MLflow is imported: it reads some of these only then."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def _failures_named(tracking_uri: str) -> Iterator[None]:
    """Turn a lost connection, a refusal, a locked database or a full disk into a sentence that names the store."""
    import requests
    import sqlalchemy
    from mlflow.exceptions import MlflowException

    lost = (requests.ConnectionError, requests.Timeout, requests.exceptions.RetryError)
    try:
        yield
    except (MlflowException, OSError, sqlalchemy.exc.SQLAlchemyError) as error:
        for cause in _causes(error):
            if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _full(tracking_uri) from error
            if isinstance(cause, sqlalchemy.exc.OperationalError) and "disk is full" in str(cause):
                raise _full(tracking_uri) from error
            busy = isinstance(cause, MlflowException) and cause.error_code == "TEMPORARILY_UNAVAILABLE"
            if busy or isinstance(cause, (*lost, sqlalchemy.exc.OperationalError)):
                raise _unreachable(tracking_uri, cause) from error
            if (status := _refused(cause)) is not None:
                raise _forbidden(tracking_uri, status) from error
        raise


def _refused(cause: BaseException) -> HTTPStatus | None:
    """401 or 403 where that is what a server answered: to a call of its API, or to one for an artifact."""
    import requests
    from mlflow.exceptions import MlflowException

    if isinstance(cause, MlflowException):
        return _REFUSALS.get(cause.error_code)
    if isinstance(cause, requests.HTTPError) and cause.response is not None:
        return next((status for status in _REFUSALS.values() if status == cause.response.status_code), None)
    return None


def shown(tracking_uri: str) -> str:
    """The address without what may be secret, fit for a message, a page or a log: no user, password, or query."""
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
    """Return when a server answers; a refusal for want of a password is an answer, and MLflow's to report."""
    request = urllib.request.Request(f"{shown(tracking_uri).rstrip('/')}/health")  # noqa: S310 - http(s), the caller saw
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_TIMEOUT_S):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        if error.code in (502, 503, 504):
            raise


def _probe_database(tracking_uri: str) -> None:
    """Return when a database answers. MLflow itself would try for half an hour to open one that cannot be opened."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(tracking_uri)
    try:
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def _wait_for_answer(tracking_uri: str) -> None:
    import sqlalchemy

    probe = _probe_server if tracking_uri.startswith(("http://", "https://")) else _probe_database
    for pause in (*_PAUSES_S, None):
        try:
            probe(tracking_uri)
            return
        except (OSError, sqlalchemy.exc.OperationalError) as error:
            if pause is None:
                raise _unreachable(tracking_uri, error) from error
        except sqlalchemy.exc.DatabaseError as error:
            raise InputError(
                f"MLflow's database at {shown(tracking_uri)} cannot be read ({_first_line(error)}); "
                "restore it from a backup, or move it away to start an empty one"
            ) from error
        except (sqlalchemy.exc.ArgumentError, ImportError) as error:
            raise InputError(
                f"MLFLOW_TRACKING_URI: {shown(tracking_uri)} is no address that can be used ({type(error).__name__}); "
                "give sqlite:///PATH, the address of another database whose driver is installed, or http(s)"
            ) from None  # The cause would repeat the address with its password.
        time.sleep(pause)


def _unreachable(tracking_uri: str, cause: BaseException) -> InfrastructureError:
    return StoreUnreachableError(
        f"MLflow at {shown(tracking_uri)} does not answer ({_first_line(cause)}); start it, or correct the setting "
        "MLFLOW_TRACKING_URI (unset, it is a database under CL_HOME), and run the same command again"
    )


def _forbidden(tracking_uri: str, status: HTTPStatus) -> InputError:
    given = [name for name in _CREDENTIALS if os.environ.get(name)]
    return InputError(
        f"MLflow at {shown(tracking_uri)} refuses access ({status.value} {status.phrase}); set "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to an account that may read "
        f"and register there (set now: {', '.join(given) or 'none'}), and run the same command again"
    )


def _full(tracking_uri: str) -> InfrastructureError:
    return StorageFullError(
        f"no space left for MLflow at {shown(tracking_uri)} or its artifacts; "
        "free some space and run the same command again: what is registered already is kept"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
