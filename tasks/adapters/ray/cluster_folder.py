"""The private folder of a Ray cluster that is started here, and what is left of clusters whose master was killed."""

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from cl_core import processes

_ROOT = Path("/tmp")  # noqa: S108 - what is made in it is private
_FOLDER = "cl-ray-"
_TRAINING = "training.txt"
_END_TIMEOUT_S = 10


@contextlib.contextmanager
def temporary_folder(training: Path) -> Iterator[Path]:
    """A short private folder for Ray's sockets, whose paths may have 107 bytes at most; removed afterwards.

    What killed processes of this machine left is removed first, their workers included: these would go on writing.

    Args:
        training: Folder of the training that the cluster is for.
    """
    for left in abandoned_folders():
        remove_abandoned(left)
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-{processes.started()}-", dir=_ROOT))
    (folder / _TRAINING).write_text(str(training))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def abandoned_folders() -> list[Path]:
    """Folders of clusters of this machine whose master has ended."""
    return [
        left
        for left in _ROOT.glob(f"{_FOLDER}*-*-*")
        if processes.is_gone(f"{socket.gethostname()}-{left.name.removeprefix(_FOLDER)}")
    ]


def is_for(folder: Path, home: Path) -> bool:
    """Whether a cluster was started for a training under a home."""
    note = folder / _TRAINING
    return note.exists() and home in Path(note.read_text()).parents


def processes_of(folder: Path) -> set[psutil.Process]:
    """The processes of the cluster in a folder: those that write into it, as far as they may be looked at.

    Ray overwrites the names and the environments of some, and ends some too late, or not while they are stopped.
    """
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(folder in Path(file.path).parents and file.mode != "r" for file in process.open_files()):
                found.add(process)
    return found


def remove_abandoned(folder: Path) -> None:
    """End what is left of a cluster whose master has ended, and remove its folder."""
    processes.kill(processes_of(folder), timeout_s=_END_TIMEOUT_S)
    shutil.rmtree(folder, ignore_errors=True)
