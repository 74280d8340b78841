"""Prefect's temporary server in a process group of its own: it outlives signals to the command's, not the command.

It uses parts of Prefect that are private; tests/tasks/server/test_temporary_server.py checks each.
https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/server/api/server.py
"""

import ctypes
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import prefect
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import get_current_settings

from tasks.runtime.process_environment import inherited

_LIBC = ctypes.CDLL(None)
# Of the server of `cl up`. This one listens on the loopback alone, and its client has no account.
_ACCOUNT = "PREFECT_SERVER_API_AUTH_STRING"
_PR_SET_PDEATHSIG = 1  # Linux, prctl(2).


class TemporaryServer(SubprocessASGIServer):
    """Prefect's server process, started otherwise. Once made, it is the one that Prefect's clients start."""

    def _run_uvicorn_command(self) -> "subprocess.Popen[Any]":
        folder, settings = str(Path(prefect.__file__).parents[1]), get_current_settings()
        variables = settings.to_environment_variables(exclude_unset=True)
        address = ("--host", "127.0.0.1", "--port", str(self.port))
        return subprocess.Popen(  # noqa: S603 - our own command
            [
                *(sys.executable, "-P", "-m", "uvicorn", "--app-dir", folder, "--factory"),
                *("prefect.server.api.server:create_app", *address, "--log-level", "error", "--lifespan", "on"),
            ],
            env={
                **inherited(_ACCOUNT),
                "PREFECT_UI_ENABLED": "0",
                "PREFECT__SERVER_EPHEMERAL": "1",
                "PREFECT__SERVER_FINAL": "1",
                **{name: value for name, value in variables.items() if name != _ACCOUNT},
            },
            # Not the working folder, whose files Prefect reads for its settings.
            cwd=settings.home,
            # Not the terminal's: a program in the background may not read there.
            stdin=subprocess.DEVNULL,
            # Ctrl-C in a terminal, and a scheduler's SIGTERM, reach the command's whole group.
            process_group=0,
            preexec_fn=_end_with_parent,
        )


def _end_with_parent() -> None:
    """Ask Linux for a SIGTERM when the command has ended, even by SIGKILL."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
