"""Folders that are built once per session and shared by its processes: whichever needs one first builds it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """Return the folder of this name, built by one process of the session.

    It is built where it stays, because MLflow keeps absolute paths. Tests read it, and change only copies of it.

    Args:
        factory: Of temporary folders.
        name: Of the folder; one per session.
        build: Fills a new folder.
    """
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    finished = folder.with_name(f"{name}.finished")
    with FileLock(f"{folder}.lock"):
        if not finished.exists():
            # What a process left that was killed while it built.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
            finished.touch()
    return folder
