"""What killed processes left on this machine: half-written files, notes about themselves, orphans."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from cl_core import artifact_dir
from tasks.adapters.ray import cluster_folder
from tasks.runtime.inventory import Diagnosis
from tasks.runtime.locks import OWNER, is_locked, owner_of
from tasks.runtime.settings import Settings


def orphaned_files(settings: Settings) -> list[Diagnosis]:
    """What is left under CL_HOME, and by Ray for its trainings; nothing that belongs to a living process."""
    return [*_half_written(settings), *_holders(settings), *_clusters(settings)]


def lock_files(settings: Settings) -> list[Path]:
    """The files that serve as locks of trainings and of models."""
    models = [lock for lock in settings.work.glob("*.lock") if lock != settings.up_lock]
    return [*settings.trainings.glob("*/lock"), *models, *settings.work.glob("turns/*.lock")]


def _half_written(settings: Settings) -> Iterator[Diagnosis]:
    kept = (settings.datasets, settings.caches, settings.trainings, settings.embeddings, settings.evaluations)
    for folder in (*kept, settings.reports, settings.work):
        for path in artifact_dir.abandoned(folder):
            yield Diagnosis("half-written by a process that has ended", str(path), "removes it", partial(_remove, path))


def _holders(settings: Settings) -> Iterator[Diagnosis]:
    for lock in lock_files(settings):
        note = lock.with_suffix(OWNER)
        if note.exists() and not is_locked(lock):
            owner = owner_of(lock)
            yield Diagnosis(
                f"{owner.name if owner else note.read_text()} is recorded as the owner of a lock that nobody holds",
                str(note),
                "removes the note",
                partial(note.unlink, missing_ok=True),
            )


def _clusters(settings: Settings) -> Iterator[Diagnosis]:
    for folder in cluster_folder.abandoned_folders():
        if not cluster_folder.is_for(folder, settings.home):
            continue
        processes = cluster_folder.processes_of(folder)
        running = f", and {len(processes)} processes of it still run" if processes else ""
        mend: Callable[[], None] = partial(cluster_folder.remove_abandoned, folder)
        yield Diagnosis(
            f"the process that started this Ray cluster has ended{running}", str(folder), "ends and removes it", mend
        )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
