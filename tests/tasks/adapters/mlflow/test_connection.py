import errno
import traceback

import pytest
from registering import NAME, registration, store_at
from servers import answering

from cl_core.errors import InputError, StorageFullError
from tasks.adapters.mlflow import connection
from tasks.adapters.mlflow.connection import connected, redacted_uri
from tasks.adapters.mlflow.model_store import ModelStore


def upload(address):
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with connected(address):
        get_artifact_repository(f"mlflow-artifacts:/{'0' * 32}/artifacts").log_artifact(__file__)


def fill_the_disk(address):
    with connected(address):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("status", "body", "content_type", "said"),
    [
        (401, b"You are not authenticated.", "text/plain", "401 Unauthorized"),
        (403, b"Permission denied", "text/plain", "403 Forbidden"),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', "application/json", "403 Forbidden"),
        (401, b'{"error_code": "UNAUTHENTICATED", "message": "who?"}', "application/json", "401 Unauthorized"),
    ],
)
def test_a_server_that_refuses_access_is_named_with_the_settings_it_wants(
    home, monkeypatch, status, body, content_type, said
):
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "somebody")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    with answering(status, body, content_type) as address:
        store = ModelStore(address, None, home / "work")
        with pytest.raises(InputError) as read:
            store.names()
        with pytest.raises(InputError) as written:
            store.register(registration())
        with pytest.raises(InputError) as uploaded:
            upload(address)
    for caught in (read, written, uploaded):
        assert str(caught.value) == (
            f"MLflow at {address} refuses access ({said}); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
            "or MLFLOW_TRACKING_TOKEN, to an account that may read and register there (set now: "
            "MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD), and run the same command again"
        )
        assert not caught.value.retriable


def test_a_server_that_swallows_every_packet_is_given_up_within_20_s():
    pauses, timeout = connection._PAUSES, connection._PROBE_TIMEOUT_S
    assert sum(pauses) + timeout * (len(pauses) + 1) < 20


def test_a_damaged_database_is_named(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"this is no database, whatever it is" * 100)
    with pytest.raises(InputError, match=r"cannot read MLflow's database at .*mlflow\.db .*not a database"):
        store_at(tmp_path).versions(NAME)


def test_a_full_disk_is_named(home):
    with pytest.raises(StorageFullError, match=r"no space left for MLflow at sqlite:.*mlflow\.db"):
        fill_the_disk(store_at(home).tracking_uri)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://host:5000", "http://host:5000"),
        ("http://user:hunter2@host:5000/mlflow", "http://host:5000/mlflow"),
        ("http://user:hunt@er2@host/", "http://host/"),
        ("http://user:hunt/er2@host/", "http://host/"),
        ("https://[::1]:5000/a@b", "https://[::1]:5000/a@b"),
        ("https://host/a@b", "https://host/a@b"),
        ("postgresql+psycopg2://user:hunter2@host:5432/mlflow", "postgresql+psycopg2://host:5432/mlflow"),
        ("postgresql://host/mlflow?user=me&password=hunter2", "postgresql://host/mlflow"),
        ("mysql+pymysql://user:hunter2@[::1]:3306/mlflow", "mysql+pymysql://[::1]:3306/mlflow"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret(address, said):
    assert redacted_uri(address) == said


def test_an_address_that_is_none_is_refused_without_being_repeated(tmp_path):
    password = "hunter" + "2"  # Not as one word, because a traceback shows the lines of this test.
    store = ModelStore(f"nosql://user:{password}@host/mlflow", None, tmp_path)
    with pytest.raises(InputError, match=r"MLFLOW_TRACKING_URI: cannot use the address nosql://host/mlflow") as refused:
        store.names()
    assert password not in "".join(traceback.format_exception(refused.value))
