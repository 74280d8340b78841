"""The private folder of a Ray cluster that is started here, and the folders of clusters whose driver was killed."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from cl_core import processes

_ROOT = Path("/tmp")  # noqa: S108 - the folders in it are private
_FOLDER = "cl-ray-"
_TRAINING, _DRIVER = "training.txt", "driver.txt"
_KILL_TIMEOUT_S = 10


@contextlib.contextmanager
def temporary_folder(training: Path) -> Iterator[Path]:
    """Give a private folder for the sockets of a training's cluster, whose paths may have 107 bytes at most.

    Clusters of drivers that were killed on this machine are removed first: their workers would go on writing.
    """
    for abandoned in abandoned_folders():
        remove_abandoned(abandoned)
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-", dir=_ROOT))
    # In a file: with the name of a long host, paths in the folder would be too long.
    (folder / _DRIVER).write_text(processes.token(), encoding="utf-8")
    (folder / _TRAINING).write_text(str(training), encoding="utf-8")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def abandoned_folders() -> list[Path]:
    """Return the folders of clusters of this host whose driver has exited; containers may share their parent."""
    drivers = _ROOT.glob(f"{_FOLDER}*/{_DRIVER}")
    return [driver.parent for driver in drivers if processes.is_gone(_read(driver))]


def _read(file: Path) -> str:
    with contextlib.suppress(OSError):  # Another user's, or just removed.
        return file.read_text(encoding="utf-8")
    return ""


def is_for(folder: Path, home: Path) -> bool:
    """Whether a cluster was started for a training under a home."""
    note = folder / _TRAINING
    return note.exists() and home in Path(note.read_text(encoding="utf-8")).parents


def processes_of(folder: Path) -> set[psutil.Process]:
    """Return the processes that write into a cluster's folder, as far as this user may inspect them.

    Ray overwrites the names and the environments of some, and ends some too late, or not while they are stopped.
    """
    writers = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(folder in Path(file.path).parents and file.mode != "r" for file in process.open_files()):
                writers.add(process)
    return writers


def remove_abandoned(folder: Path) -> None:
    """Kill the processes of a cluster whose driver has exited, and remove its folder."""
    processes.kill(processes_of(folder), timeout_s=_KILL_TIMEOUT_S)
    shutil.rmtree(folder, ignore_errors=True)
