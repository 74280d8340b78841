"""Real servers on this machine's own address."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

from filelock import FileLock

# Below those that the system hands out by itself.
_PORTS = range(20_000, 32_000)
_CLAIMED: list[IO[str]] = []
# Of a request to Prefect's server. It has one writer at a time in SQLite, waits for it itself, and then answers 503: on
# a slow machine with many tests after more than half a minute.
ANSWERED_S = 120


def free_port() -> int:
    """A port that nothing listens on and that no other test gets, not even of another run on this machine.

    A claim is a locked file, which the system unlocks when this process ends.
    """
    claims = Path(tempfile.gettempdir(), f"cl-test-ports-{os.getuid()}")
    claims.mkdir(exist_ok=True)
    # Each process looks from another place, so that they seldom meet.
    first = os.getpid() * 101 % len(_PORTS)
    for port in (*_PORTS[first:], *_PORTS[:first]):
        claim = (claims / str(port)).open("w")
        with contextlib.suppress(OSError), socket.socket() as listener:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            listener.bind(("127.0.0.1", port))
            _CLAIMED.append(claim)
            return port
        claim.close()
    raise AssertionError("no port is free")


def give_tables(prefect_home: Path) -> None:
    """Put Prefect's empty database into its home: a server takes seconds to make one, and all tests share one copy."""

    def make(making: Path) -> None:
        mine = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment = {**mine, "PREFECT_HOME": str(making)}
        upgrade = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
        made = subprocess.run(upgrade, env=environment, capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr

    _give("prefect.db", prefect_home, make)


def give_store(home: Path) -> None:
    """Put an empty MLflow database into a home: its tables take seconds to make, and all tests share one copy."""

    def make(making: Path) -> None:
        from tasks.adapters.mlflow.model_store import ModelStore

        store = ModelStore(f"sqlite:///{making}/mlflow.db", making / "mlflow-artifacts", making / "work")
        assert store.names() == []

    _give("mlflow.db", home, make)


def _give(file: str, folder: Path, make: Callable[[Path], None]) -> None:
    """Copy a file into a folder; the first test process that asks makes it, in a folder that all of them know."""
    numbered = (parent for parent in folder.parents if re.fullmatch(r"pytest-\d+", parent.name))
    shared = next(numbered, folder.parent) / f"empty-{file}"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            making = shared.with_name(f"{shared.name}-in-making")
            make(making)
            making.rename(shared)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(shared / file, folder)


@contextlib.contextmanager
def answering(status: int, body: bytes = b"", content_type: str = "text/plain") -> Iterator[str]:
    """The address of a server that answers every request with one status."""

    class Answering(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - named by http.server

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def serving(home: Path, port: int = 0) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of an MLflow server over the store in `home`, and a function that ends it."""
    port = port or free_port()
    places = f"--backend-store-uri sqlite:///{home}/mlflow.db --artifacts-destination {home}/served"
    command = f"{sys.executable} -m mlflow server --host 127.0.0.1 --port {port} --workers 1 {places}"
    server = subprocess.Popen(
        command.split(),
        # Its job runners are ten processes that nothing here asks for.
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=home,
    )

    def end() -> None:
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


class Door:
    """A port of this machine's at which nothing answers until it is opened; then what comes there goes to a server.

    A server needs seconds to start; a door opens at once.
    """

    def __init__(self) -> None:
        self.port = free_port()
        # Bound, so that nobody else takes it.
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", self.port))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self, server: str) -> None:
        """Lead to the server at this address."""
        self._listener.listen()
        threading.Thread(target=self._let_in, args=(int(server.rpartition(":")[2]),), daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _let_in(self, port: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                guest, _ = self._listener.accept()
                host = socket.create_connection(("127.0.0.1", port))
                for one, other in ((guest, host), (host, guest)):
                    threading.Thread(target=_pass_on, args=(one.dup(), other.dup()), daemon=True).start()
                guest.close()
                host.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with source, target, contextlib.suppress(OSError):
        while content := source.recv(65_536):
            target.sendall(content)
        target.shutdown(socket.SHUT_WR)
