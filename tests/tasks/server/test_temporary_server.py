"""What the temporary server uses of Prefect is still there: an upgrade that breaks it fails here first."""

import inspect

from prefect.server.api.server import SubprocessASGIServer

from tasks.server import temporary_server
from tasks.server.temporary_server import TemporaryServer


def test_prefects_clients_start_the_temporary_server_that_was_made_first() -> None:
    made = TemporaryServer()
    try:
        assert SubprocessASGIServer() is made
    finally:
        made.stop()
    assert type(SubprocessASGIServer()) is SubprocessASGIServer
    SubprocessASGIServer().stop()


def test_it_is_started_as_prefect_starts_it() -> None:
    theirs = inspect.getsource(SubprocessASGIServer._run_uvicorn_command)
    ours = inspect.getsource(temporary_server.TemporaryServer._run_uvicorn_command)
    program = ("uvicorn", "--app-dir", "--factory", "prefect.server.api.server:create_app", "--host", "--port")
    variables = ("PREFECT_UI_ENABLED", "PREFECT__SERVER_EPHEMERAL", "PREFECT__SERVER_FINAL")
    for part in (*program, "--log-level", "--lifespan", *variables, "to_environment_variables(exclude_unset=True)"):
        assert part in theirs and part in ours
    assert theirs.count('"--') == 6, "no option that ours does not have"
    assert theirs.count('"PREFECT') == 3
