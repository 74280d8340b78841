"""The inventory of CL_HOME: what pruning may remove, its removal, and how a fault in it is described."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, computed_field
from pydantic.dataclasses import dataclass

from cl_core import artifact_dir, processes
from cl_core.errors import IntegrityError
from cl_core.refs import CheckpointRef
from cl_core.retention.inventory_items import InventoryItem
from tasks.runtime.locks import is_locked, try_lock
from tasks.runtime.settings import Settings


@dataclass(frozen=True)
class Diagnosis:
    """A difference between the state in Prefect or MLflow and this machine."""

    what: str = Field(description="What is wrong.")
    where: str = Field(description="A path, an address or a flow run.")
    remedy: str = Field(description="What `cl doctor --fix` does, or what a person can do.")
    repair: Callable[[], object] | None = Field(
        default=None, exclude=True, description="None where only a person can decide."
    )

    @computed_field(description="Whether `cl doctor --fix` repairs it.")  # type: ignore[prop-decorator]
    @property
    def fixable(self) -> bool:
        """Whether `cl doctor --fix` repairs it."""
        return self.repair is not None


RESULT = "checkpoint.json"
"""In a training's folder, the result of a finished training."""
MADE_FROM = "made-from.json"
"""In a training's folder, the snapshot's digest: written first, since a run that fails leaves no result."""
LOCK = "lock"
"""In a training's folder, its lock."""
_EARLIER_INITIAL_WEIGHTS = "starts"  # Version 0.1.0 kept initial weights here.


_DIGEST = re.compile(r"[0-9a-f]{64}")
_CACHE = re.compile(r"([0-9a-f]{64})-\d+x\d+x\d+(-[-+.e\d]+)?")
_REPORT = re.compile(r"version-(\d+)-[0-9a-f]+\.html")


def inventory(settings: Settings) -> list[InventoryItem]:
    """Return everything that pruning may remove; what this project has not named is left alone."""
    return [
        *_trainings(settings.trainings),
        *_snapshots(settings.datasets),
        *_caches(settings.caches),
        *_derived("features", settings.embeddings),
        *_derived("evaluation", settings.evaluations),
        *_reports(settings.reports),
        *(
            _item("initial weights", path)
            for folder in (settings.initial_weights, settings.home / _EARLIER_INITIAL_WEIGHTS)
            for path in _digests(folder)
        ),
        *_orphans(settings),
    ]


def remove_item(item: InventoryItem) -> bool:
    """Delete an item unless it is locked or was used since it was listed; return whether it no longer exists.

    It is renamed first, so that no run ever sees a part of it; what a kill leaves is removed the next time.
    """
    if item.kind == "orphan":
        shutil.rmtree(item.path, ignore_errors=True)
        return not item.path.exists()
    lock = try_lock(item.path / LOCK) if item.kind == "training" else contextlib.nullcontext(True)
    with lock as free:
        if not item.path.exists():
            return True
        if not free or last_used(item.path) > item.last_used:
            return False
        with artifact_dir.staging(item.path.parent) as staged:
            away = staged / item.path.name
            try:
                item.path.rename(away)
            except FileNotFoundError:
                return True  # Another process has removed it.
            # Between the look at the time and the renaming, a run may have found it and may rely on it.
            if last_used(away) > item.last_used and not item.path.exists():
                away.rename(item.path)
                return False
        return True


def forget_ingests(datasets: Path) -> int:
    """Remove the records of ingestions whose snapshot no longer exists; return how many there were."""
    forgotten = 0
    for record in [*datasets.glob("*/ingests/*.json"), *datasets.glob(f"*/ingests/*/*/{artifact_dir.MANIFEST}")]:
        snapshot = str(_json(record).get("snapshot"))
        dataset = datasets / record.relative_to(datasets).parts[0]
        if _DIGEST.fullmatch(snapshot) and not (dataset / snapshot).exists():
            if record.name == artifact_dir.MANIFEST:
                shutil.rmtree(record.parent, ignore_errors=True)
            else:
                record.unlink(missing_ok=True)
            forgotten += 1
    return forgotten


def last_used(path: Path) -> datetime:
    """Return the latest time of change of a file, or of a folder and everything in it except its lock."""
    return datetime.fromtimestamp(max(state.st_mtime_ns for state in _states(path)) / 1e9, UTC)


def _trainings(folder: Path) -> Iterator[InventoryItem]:
    for path in _digests(folder):
        result, made_from = path / RESULT, str(_json(path / MADE_FROM).get("snapshot", ""))
        if result.exists():
            with contextlib.suppress(ValueError, OSError):
                made_from = CheckpointRef.model_validate_json(result.read_text(encoding="utf-8")).snapshot_digest
        busy = is_locked(path / LOCK)
        yield _item("training", path, training=path.name, snapshot=made_from, finished=result.exists(), busy=busy)


def _snapshots(folder: Path) -> Iterator[InventoryItem]:
    for dataset in _children(folder):
        for path in _digests(dataset):
            yield _item("snapshot", path, snapshot=path.name)


def _caches(folder: Path) -> Iterator[InventoryItem]:
    for path in _children(folder):
        if named := _CACHE.fullmatch(path.name):
            yield _item("cache", path, snapshot=named[1])


def _derived(kind: str, folder: Path) -> Iterator[InventoryItem]:
    for path in _digests(folder):
        facts: dict[str, Any] = {}
        with contextlib.suppress(IntegrityError):
            facts = artifact_dir.manifest_of(path)
        yield _item(kind, path, snapshot=str(facts.get("snapshot", "")), training=str(facts.get("training", "")))


def _reports(folder: Path) -> Iterator[InventoryItem]:
    for model in _children(folder):
        for path in sorted(model.glob("version-*.html")):
            if named := _REPORT.fullmatch(path.name):
                yield _item("report", path, model=model.name, version=int(named[1]))


def _orphans(settings: Settings) -> Iterator[InventoryItem]:
    """Return staging folders; those inside a training's folder are removed with it, or by its next checkpoint."""
    parents = [settings.caches, settings.embeddings, settings.evaluations, settings.trainings, settings.work]
    parents.append(settings.initial_weights)
    parents += [*_children(settings.datasets), *_children(settings.reports)]
    for parent in parents:
        for path in sorted(parent.glob(f"{artifact_dir.STAGING}*")):
            ended = artifact_dir.is_orphaned(path)
            here = processes.pid_of(path.name.removeprefix(artifact_dir.STAGING)) != 0
            yield _item("orphan", path, finished=ended, busy=here and not ended)


def _item(kind: str, path: Path, **known: Any) -> InventoryItem:
    size = sum(state.st_size for state in _states(path))
    return InventoryItem.model_validate(
        {"kind": kind, "path": path, "size_bytes": size, "last_used": last_used(path), **known}
    )


def _states(path: Path) -> Iterator[os.stat_result]:
    yield path.lstat()
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            if name != LOCK:
                with contextlib.suppress(FileNotFoundError):  # Files come and go while a training runs.
                    yield Path(folder, name).lstat()


def _digests(folder: Path) -> list[Path]:
    return [path for path in _children(folder) if _DIGEST.fullmatch(path.name)]


def _children(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir() and not path.is_symlink())


def _json(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
