"""Prefect's temporary server, for a command that has no other one: it starts while the command imports its libraries.

Prefect would start one itself, but would first import the whole server into the command, and then wait for it. This one
also has a process group of its own: it outlives signals to the command's, not the command.
"""

import atexit
import contextlib
import ctypes
import importlib.util
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

from cl_core.errors import InfrastructureError
from tasks.runtime.process_environment import inherited

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # Linux, prctl(2).
# The account is that of the server of `cl up`. This one listens on the loopback alone, and its client has none.
_NOT_FOR_IT = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_URL")
_STOP_TIMEOUT_S = 5


class TemporaryServer:
    """A server of this process that listens on the loopback.

    Its port is reserved at once, so that `PREFECT_API_URL` can be set before Prefect is imported.
    """

    def __init__(self) -> None:
        self._listening = socket.socket()
        # The server's connections inherit it; asyncio sets it only where it knows the kind of the socket.
        self._listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listening.bind(("127.0.0.1", 0))
        self.api_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/api"
        self._process: subprocess.Popen[bytes] | None = None
        self._log = Path()

    def start(self, folder: Path) -> None:
        """Start the server, and return; what is asked before it is ready waits for it.

        The program and its variables are Prefect's own; tests/tasks/server/test_temporary_server.py compares them.
        https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/server/api/server.py

        Args:
            folder: To start it in, and for its log: Prefect reads files of its working folder for its settings.
        """
        if self._process is not None:
            return
        self._log = folder / "temporary-server.log"
        prefect = importlib.util.find_spec("prefect")
        assert prefect is not None and prefect.origin is not None
        packages, socket_number = str(Path(prefect.origin).parents[1]), self._listening.fileno()
        self._listening.listen()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [
                    *(sys.executable, "-P", "-m", "uvicorn", "--app-dir", packages, "--fd", str(socket_number)),
                    *("--factory", "prefect.server.api.server:create_app"),
                    *("--log-level", "error", "--lifespan", "on"),
                ],
                env={
                    **inherited(*_NOT_FOR_IT),
                    "PREFECT_UI_ENABLED": "0",
                    "PREFECT__SERVER_EPHEMERAL": "1",
                    "PREFECT__SERVER_FINAL": "1",
                    # The command is quiet on its terminal; a traceback of the server belongs into its log.
                    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",
                },
                cwd=folder,
                # Not the terminal's: a program in the background may not read there.
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(socket_number,),
                # Ctrl-C in a terminal, and a scheduler's SIGTERM, reach the command's whole group.
                process_group=0,
                preexec_fn=_end_with_parent,
            )
        atexit.register(self.stop)
        # From here on, a request to a server that has exited is refused instead of waiting.
        self._listening.close()

    def wait_until_ready(self, *, timeout_s: float) -> None:
        """Return once the server answers.

        Raises:
            InfrastructureError: When it has exited, or does not answer in time.
        """
        import httpx

        assert self._process is not None
        try:
            httpx.get(f"{self.api_url}/health", timeout=timeout_s, trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
            code = self._process.poll()
            what = f"did not answer within {timeout_s:.0f} s" if code is None else f"exited with code {code}"
            raise InfrastructureError(
                f"Prefect's temporary server {what}; the end of {self._log} says why; correct that, and run the same "
                "command again"
            ) from error

    def stop(self) -> None:
        """End the server's process."""
        self._listening.close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


@cache
def temporary_server() -> TemporaryServer:
    """Return the one of this process."""
    return TemporaryServer()


def _end_with_parent() -> None:
    """Ask Linux for a SIGTERM when the command has ended, even by SIGKILL."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
