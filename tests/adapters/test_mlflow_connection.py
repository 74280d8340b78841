import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from registering import NAME, evaluation, gains, registration, store_at

from cl_core.errors import InputError, StorageFullError, StoreUnreachableError
from cl_core.specs import PromotionSpec
from tasks.adapters import mlflow_connection
from tasks.adapters.mlflow_connection import connected, shown
from tasks.adapters.mlflow_store import ModelStore


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(home):
    """The address of an MLflow server over the store in `home`, and a function that ends it."""
    port = free_port()
    places = f"--backend-store-uri sqlite:///{home}/mlflow.db --artifacts-destination {home}/served"
    command = f"{sys.executable} -m mlflow server --host 127.0.0.1 --port {port} --workers 1 {places}"
    server = subprocess.Popen(
        command.split(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=home,
    )

    def end():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()

    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and server.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", end
    finally:
        end()


def ask_while_dying(address, end):
    with connected(address) as client:
        end()
        client.get_registered_model(NAME)


def fill_the_disk(address):
    with connected(address):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_server_serves_registration_champion_and_model_and_is_named_when_it_dies(home):
    with serving(home) as (address, end):
        store = ModelStore(address, None, home / "work")
        ref = store.register(registration())
        assert ref.created and not store.register(registration()).created
        assert store.decide(NAME, 1, PromotionSpec(), evaluation(), gains()).promoted
        module = registration().model
        assert (store.load(store.champion(NAME))(module.example(3)) - module(module.example(3))).abs().max() <= 1e-6
        assert ModelStore(address.replace("//", "//somebody:secret@"), None, home / "work").names() == [NAME]
        assert any((home / "served").rglob("model.pt2"))
        started = time.monotonic()
        with pytest.raises(StoreUnreachableError, match=f"MLflow at {address} does not answer"):
            ask_while_dying(address, end)
        assert time.monotonic() - started < 20


def test_a_server_that_is_down_is_named_with_the_remedy_within_20_s(home):
    address = f"http://somebody:secret@127.0.0.1:{free_port()}"
    started = time.monotonic()
    with pytest.raises(StoreUnreachableError, match="MLFLOW_TRACKING_URI") as caught:
        ModelStore(address, None, home / "work").register(registration())
    assert 6 < time.monotonic() - started < 20
    assert f"MLflow at {shown(address)} does not answer" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_server_that_swallows_every_packet_is_given_up_within_20_s():
    pauses, timeout = mlflow_connection._PAUSES_S, mlflow_connection._PROBE_TIMEOUT_S
    assert sum(pauses) + timeout * (len(pauses) + 1) < 20


def test_a_damaged_database_is_named(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"this is no database, whatever it is" * 100)
    with pytest.raises(InputError, match=r"mlflow\.db cannot be read .*not a database"):
        store_at(tmp_path).versions(NAME)


def test_a_full_disk_is_named(home):
    with pytest.raises(StorageFullError, match=r"no space left for MLflow at sqlite:.*mlflow\.db"):
        fill_the_disk(store_at(home).tracking_uri)
