"""One retraining of a model at a time on this machine, whoever has started it."""

import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from cl_core import sealed
from tasks.console import tell
from tasks.settings import Settings


@contextmanager
def turn(model_name: str) -> Iterator[None]:
    """Hold the model's turn; wait for it, and say for whom, while another run has it.

    Runs of one work queue wait in Prefect already. This is for those of others: a command on the terminal, or a form
    in which another model's name was filled in. The system releases a lock whose process has died.
    """
    folder = Settings.from_environment().work / "turns"
    folder.mkdir(parents=True, exist_ok=True)
    name = urllib.parse.quote(model_name, safe="")
    lock, holder = FileLock(folder / f"{name}.lock"), folder / f"{name}.holder"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        whom = holder.read_text() if holder.exists() else "another run"
        sentence = f"waits for {whom}, which retrains {model_name} at this moment"
        get_run_logger().info(sentence)
        tell("retrain", sentence)
        lock.acquire()
    try:
        sealed.write_text(holder, f"flow run {flow_run.name!r}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
