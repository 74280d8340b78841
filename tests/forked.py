"""Processes, `cl` among them, forked from one that has imported what takes seconds.

From the fork on such a process is on its own: its environment, streams, signals, session and exit code are a program's.
What it cannot show is how a program begins, so that some tests start the program itself.
"""

import atexit
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

TESTS = Path(__file__).parent
# Read when modules are imported, so before a process is forked. What is tested is that something is tried again.
SHORT_PAUSES = {"CL_RETRY_DELAY_S": "1", "CL_STORE_PAUSE_S": "0.1"}


def serve() -> Any:
    """The multiprocessing context whose processes are forked so, once their server has been started."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["preloaded"])
    # The fork server of Python 3.11 looks for the module to import on PYTHONPATH alone. Without an address of Prefect,
    # a folder would be made for a server to come.
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    address = "http://127.0.0.1:9/api"
    with mock.patch.dict(os.environ, PYTHONPATH=paths, PREFECT_API_URL=address, **SHORT_PAUSES):
        forkserver.ensure_running()
    return context


def start(act: Callable[..., object], *arguments: object) -> BaseProcess:
    """Call a function in a process of its own."""
    process: BaseProcess = serve().Process(target=act, args=arguments)
    process.start()
    return process


def start_program(
    main: Callable[..., object], *arguments: object, environment: Mapping[str, str], out: Path, err: Path
) -> BaseProcess:
    """Call a function in a process that is a program's in all else.

    Args:
        main: The program's main function, which may raise SystemExit.
        arguments: Of the function.
        environment: All of it.
        out: File that its output is appended to.
        err: File that its errors are appended to; may be the same.
    """
    return start(_be_a_program, main, arguments, dict(environment), out, err)


class Program:
    """Such a process that is asked as `subprocess.Popen` is."""

    def __init__(self, main: Callable[..., object], *arguments: object, environment: Mapping[str, str]) -> None:
        folder = Path(tempfile.mkdtemp(prefix="cl-program-"))
        weakref.finalize(self, shutil.rmtree, folder)
        self._out, self._err = folder / "out", folder / "err"
        self._process = start_program(main, *arguments, environment=environment, out=self._out, err=self._err)
        assert self._process.pid is not None
        self.pid = self._process.pid

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    @property
    def returncode(self) -> int | None:
        """Its exit code, below 0 when a signal ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote to its output and to its errors, once it has ended."""
        self.wait(timeout)
        return self._out.read_text(), self._err.read_text()

    @property
    def errors(self) -> str:
        """What it has written to its errors so far."""
        return self._err.read_text() if self._err.exists() else ""

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def cl(*arguments: str, environment: Mapping[str, str]) -> Program:
    """`cl` with these arguments."""
    return Program(_cl, arguments, environment=environment)


def _cl(arguments: tuple[str, ...]) -> None:
    from flows.cli.app import main

    sys.argv = ["cl", *arguments]
    main()


def _be_a_program(
    main: Callable[..., object], arguments: Sequence[object], environment: Mapping[str, str], out: Path, err: Path
) -> NoReturn:
    code: object = 1
    try:
        os.setsid()
        for number, stream in ((1, out), (2, err)):
            os.dup2(os.open(stream, os.O_CREAT | os.O_APPEND | os.O_WRONLY), number)
        # As from a terminal: the server that this was forked from ignores Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(environment)
        _read_settings_again()
        main(*arguments)
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        # What an interpreter does at its end.
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _read_settings_again() -> None:
    """Prefect has read them when it was imported, in another environment."""
    from prefect.context import refresh_global_settings_context

    from tasks.runtime.process_environment import embed_prefect
    from tasks.runtime.settings import Settings
    from tasks.server.temporary_server import temporary_server

    Settings.from_environment().home.mkdir(parents=True, exist_ok=True)
    embed_prefect(Settings.from_environment(), temporary_server().api_url)
    refresh_global_settings_context()
