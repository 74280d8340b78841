"""What machines do to an ingestion: full disks, kills, little memory."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cl_core.artifact_dir import is_intact
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.errors import StorageFullError
from cl_core.specs import DataSpec

# Ingests synthetic pictures of 12 KB each and prints the highest memory of the process, in MiB.
INGEST = """
import sys
from pathlib import Path
from cl_core.data.worker_pool import map_batches
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.specs import DataSpec

if __name__ == "__main__":
    folder, count, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    options = {"count": count, "size": 64, "channels": 3}
    spec = DataSpec(name="made", source="synthetic", source_options=options)
    progress = lambda count: print(count, flush=True)
    ingest_source(spec, datasets=folder, workers=workers, run_bytes=1 << 20, on_progress=progress)
    # Unlike `ru_maxrss` it does not begin with the memory of the process that started this one.
    print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024)
"""


def made(count: int) -> DataSpec:
    return DataSpec(name="made", source="synthetic", source_options={"count": count, "size": 64, "channels": 3})


def left_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    disk = tmp_path / "small"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a full disk needs the right to mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


# 12 KiB each: 200 do not even fit once, 60 fit once but not twice.
@pytest.mark.parametrize("count", [200, 60], ids=["while sorting", "while writing rows"])
def test_a_full_disk_is_an_error_that_says_where_and_leaves_nothing(small_disk, count):
    with pytest.raises(StorageFullError, match=rf"no space left on the disk that holds {small_disk}.*CL_HOME"):
        ingest_source(made(count), datasets=small_disk, run_bytes=1 << 18)
    assert left_in(small_disk) == []
    assert ingest_source(made(10), datasets=small_disk).snapshot.rows.keys() == {"train", "test"}


@pytest.mark.integration
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_ingestion_leaves_no_snapshot_and_the_next_one_cleans_up(tmp_path, workers):
    process = subprocess.Popen(
        [sys.executable, "-c", INGEST, str(tmp_path), "100000", str(workers)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < 300:  # 3.6 MB: some runs are on the disk by then.
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert any(path.name.startswith("run-") for path in left_in(tmp_path))
    assert list(tmp_path.glob("made/*/manifest.json")) == []

    snapshot = ingest_source(made(50), datasets=tmp_path).snapshot
    assert is_intact(snapshot.path)
    assert {path.name for path in (tmp_path / "made").iterdir()} == {snapshot.digest, "ingests"}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_leaves_nothing_behind(tmp_path, workers):
    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_source(made(300), datasets=tmp_path, run_bytes=1, workers=workers, on_progress=interrupt)
    assert left_in(tmp_path) == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")] == []


@pytest.mark.sweep
def test_memory_does_not_grow_with_the_data(tmp_path):
    def peak(count: int) -> float:
        command = [sys.executable, "-c", INGEST, str(tmp_path / str(count)), str(count), "1"]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])

    few, many = peak(500), peak(4000)
    grown = sum(path.stat().st_size for path in left_in(tmp_path / "4000")) / 2**20
    assert grown > 45  # MiB: held in memory, the larger dataset would show.
    assert many - few < 20


def test_an_unchanged_dataset_is_recognized_and_nothing_is_written(tmp_path):
    ingest_source(made(1000), datasets=tmp_path)
    files = {path: path.stat().st_mtime_ns for path in left_in(tmp_path)}
    assert not ingest_source(made(1000), datasets=tmp_path).new
    assert {path: path.stat().st_mtime_ns for path in left_in(tmp_path)} == files
