"""What is in a real home, and what removing it does when runs, locks and kills come between."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from cl_core import artifact_dir
from cl_core.data.cache import build_cache
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.snapshot import open_snapshot
from cl_core.modalities._png import encode_png
from cl_core.modalities.image import Images
from cl_core.specs import DataSpec
from tasks.runtime.inventory import forget_ingests, inventory, last_used, remove_item
from tasks.runtime.locks import acquire_lock
from tasks.runtime.settings import Settings

DATA = DataSpec(name="shapes", source="synthetic", source_options={"count": 80, "size": 8}, image_size=8)
TRAINING = "7" * 64


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home with a snapshot, its cache, features, a training without a result, a report and a dead process's work."""
    settings = Settings(home=tmp_path / "home")
    snapshot = ingest_source(DATA, datasets=settings.datasets).snapshot
    build_cache(snapshot, Images(size=8), caches=settings.caches)
    with artifact_dir.staging(settings.embeddings) as staged:
        (staged / "train.parquet").write_bytes(b"features")
        artifact_dir.publish(
            staged, settings.embeddings / ("8" * 64), {"snapshot": snapshot.digest, "training": TRAINING}
        )
    folder = settings.trainings / TRAINING
    folder.mkdir(parents=True)
    (folder / "made-from.json").write_text(json.dumps({"snapshot": snapshot.digest}))
    (folder / "progress.jsonl").write_text("{}\n")
    with artifact_dir.staging(settings.initial_weights) as staged:
        (staged / "weights.safetensors").write_bytes(b"weights")
        artifact_dir.publish(staged, settings.initial_weights / ("9" * 64), {"champion": "models:/shapes/2"})
    page = settings.reports / "shapes" / "version-3-0123456789ab.html"
    page.parent.mkdir(parents=True)
    page.write_text("<html></html>")
    dead = subprocess.run([sys.executable, "-c", KILLED_WHILE_STAGING, settings.evaluations])
    assert dead.returncode == -signal.SIGKILL
    age(settings.home, days=2)
    return settings


KILLED_WHILE_STAGING = """
import os, signal, sys
from pathlib import Path
from cl_core import artifact_dir
with artifact_dir.staging(Path(sys.argv[1])) as staged:
    (staged / "half").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def age(home: Path, *, days: float) -> None:
    then = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    for path in home.rglob("*"):
        os.utime(path, (then, then))


def the(settings: Settings, kind: str):
    (found,) = [item for item in inventory(settings) if item.kind == kind]
    return found


def test_everything_that_a_home_holds_is_listed_with_what_it_was_made_from(settings):
    snapshot = the(settings, "snapshot").snapshot
    assert the(settings, "snapshot").path == settings.datasets / "shapes" / snapshot
    assert the(settings, "cache").snapshot == snapshot
    assert (the(settings, "features").snapshot, the(settings, "features").training) == (snapshot, TRAINING)
    training = the(settings, "training")
    assert (training.snapshot, training.finished, training.busy) == (snapshot, False, False)
    assert (the(settings, "report").model, the(settings, "report").version) == ("shapes", 3)
    assert the(settings, "initial weights").path == settings.initial_weights / ("9" * 64)
    assert (the(settings, "orphan").finished, the(settings, "orphan").busy) == (True, False)
    for item in inventory(settings):
        assert timedelta(days=1.9) < datetime.now(UTC) - item.last_used < timedelta(days=2.1)
    cache = the(settings, "cache")
    files = sum(path.stat().st_size for path in cache.path.iterdir())
    assert cache.size_bytes == files + cache.path.stat().st_size


def test_a_removed_thing_is_gone_and_nothing_is_left_beside_it(settings):
    for item in inventory(settings):
        assert remove_item(item)
        assert not item.path.exists()
    assert inventory(settings) == []
    assert [path.name for path in settings.home.glob("*/*") if path.name.startswith(".")] == []


def test_what_a_run_has_found_since_it_was_listed_stays(settings):
    listed = the(settings, "snapshot")
    open_snapshot(listed.path)
    assert not remove_item(listed)
    assert artifact_dir.is_intact(listed.path)


def test_a_folder_that_a_run_begins_to_use_while_it_is_removed_is_restored(settings, monkeypatch):
    """The run comes between the look at the time and the renaming: the narrowest place there is."""
    listed, rename = the(settings, "snapshot"), Path.rename

    def found_just_before(path, target):
        if path == listed.path:
            os.utime(path)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", found_just_before)
    assert not remove_item(listed)
    assert artifact_dir.is_intact(listed.path)


def test_a_training_whose_lock_is_held_is_busy_and_stays(settings):
    listed = the(settings, "training")
    with FileLock(listed.path / "lock"):
        assert the(settings, "training").busy
        assert not remove_item(listed)
    assert (listed.path / "progress.jsonl").exists()


def test_a_training_that_has_only_been_locked_and_let_go_is_not_used(settings):
    listed = the(settings, "training")
    with FileLock(listed.path / "lock"):
        pass
    age(settings.home, days=2)
    listed = the(settings, "training")
    with FileLock(listed.path / "lock"):
        pass
    assert last_used(listed.path) == listed.last_used
    assert remove_item(listed)


def test_a_run_that_waits_for_the_lock_of_what_goes_gets_a_fresh_folder(settings):
    """While retention has the lock, the folder goes; the lock of a removed folder is of no use."""
    folder = settings.trainings / TRAINING
    lock, waits, seen = FileLock(folder / "lock"), threading.Event(), []

    def train():
        waits.set()
        mine = FileLock(folder / "lock")
        acquire_lock(mine, timeout_s=-1)
        seen.append(sorted(path.name for path in folder.iterdir()))
        mine.release()

    lock.acquire()
    run = threading.Thread(target=train)
    run.start()
    waits.wait()
    with artifact_dir.staging(settings.trainings) as staged:
        folder.rename(staged / folder.name)
    lock.release()
    run.join(10)
    assert seen == [["lock"]]


def test_what_someone_else_has_removed_is_gone(settings):
    listed = the(settings, "cache")
    assert remove_item(listed)
    assert remove_item(listed)


@pytest.mark.parametrize("moment", ["rename", "rmtree"])
def test_a_kill_while_removing_leaves_the_whole_folder_or_orphaned_files(settings, moment):
    program = f"""
import os, shutil, signal, sys
from pathlib import Path
from tasks.runtime.inventory import inventory, remove_item
from tasks.runtime.settings import Settings
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
{"Path.rename" if moment == "rename" else "shutil.rmtree"} = die
for item in inventory(Settings(home=Path(sys.argv[1]))):
    if item.kind == "snapshot":
        remove_item(item)
"""
    killed = subprocess.run([sys.executable, "-c", program, settings.home])
    assert killed.returncode == -signal.SIGKILL
    if moment == "rename":
        assert artifact_dir.is_intact(the(settings, "snapshot").path)
    else:
        assert not [item for item in inventory(settings) if item.kind == "snapshot"]
    for item in inventory(settings):
        if item.kind == "orphan":
            assert item.finished and remove_item(item)
    left = [path for path in settings.home.rglob("*") if path.name.startswith(artifact_dir.STAGING)]
    assert left == []


def test_records_of_ingestions_go_with_their_snapshot_and_the_next_run_reads_the_source_again(settings):
    assert not ingest_source(DATA, datasets=settings.datasets).new
    assert forget_ingests(settings.datasets) == 0
    assert remove_item(the(settings, "snapshot"))
    assert forget_ingests(settings.datasets) == 1
    assert list(settings.datasets.rglob("*.json")) == []
    assert ingest_source(DATA, datasets=settings.datasets).new


def test_the_notes_of_an_ingestion_go_with_their_snapshot(settings, tmp_path):
    encoded = encode_png(np.zeros((8, 8, 1), np.uint8))
    for number in range(3):
        (tmp_path / "pets").mkdir(exist_ok=True)
        (tmp_path / "pets" / f"{number}.png").write_bytes(encoded)
    data = DataSpec(name="pets", source="image_folder", location=str(tmp_path / "pets"))
    snapshot = ingest_source(data, datasets=settings.datasets).snapshot
    assert len(list((settings.datasets / "pets").glob("ingests/*/*/index.parquet"))) == 1
    assert forget_ingests(settings.datasets) == 0
    shutil.rmtree(snapshot.path)
    assert forget_ingests(settings.datasets) == 2
    assert [path for path in (settings.datasets / "pets").rglob("*") if path.is_file()] == []
    assert ": 3 inputs, " in ingest_source(data, datasets=settings.datasets).reason


def test_what_is_not_named_as_we_name_it_is_left_alone(settings):
    for name in ("datasets/shapes/notes", "trainings/mine", "caches/by-hand", "reports/shapes/index.html"):
        (settings.home / name).mkdir(parents=True)
    before = len(inventory(settings))
    assert before == 7
