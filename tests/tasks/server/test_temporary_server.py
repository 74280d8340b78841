"""The temporary server is Prefect's own, started earlier: an upgrade that starts it otherwise fails here first."""

import inspect
import socket
import sys

import httpx
import pytest
from prefect.server.api.server import SubprocessASGIServer

from cl_core.errors import InfrastructureError
from tasks.server.temporary_server import TemporaryServer


def test_it_is_started_as_prefect_starts_it() -> None:
    theirs = inspect.getsource(SubprocessASGIServer._run_uvicorn_command)
    ours = inspect.getsource(TemporaryServer.start)
    program = ("uvicorn", "--app-dir", "--factory", "prefect.server.api.server:create_app", "--log-level", "--lifespan")
    variables = ("PREFECT_UI_ENABLED", "PREFECT__SERVER_EPHEMERAL", "PREFECT__SERVER_FINAL")
    for part in (*program, *variables):
        assert part in theirs and part in ours
    # All but the address, which is that of the socket that ours is given.
    assert theirs.count('"--') == 6 and ours.count('"--') == 5
    assert theirs.count('"PREFECT') == 3


def test_its_port_is_taken_from_the_beginning_and_nothing_answers_before_the_start() -> None:
    server = TemporaryServer()
    try:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", httpx.URL(server.api_url).port))
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.api_url}/health", trust_env=False)
    finally:
        server.stop()


def test_one_that_exits_while_it_starts_is_named_with_its_exit_code(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    server = TemporaryServer()
    server.start(tmp_path)
    with pytest.raises(
        InfrastructureError, match=r"server exited with code 1; the end of \S+/temporary-server.log says why"
    ):
        server.wait_until_ready(timeout_s=10)
    server.stop()
