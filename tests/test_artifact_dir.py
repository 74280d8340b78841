"""Artifact directories: complete or absent, whatever happens in between."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cl_core import artifact_dir
from cl_core.errors import IntegrityError, StorageFullError

# Stages a file in the folder given, says so, and waits to be killed.
STAGE_AND_WAIT = """
import sys, time
from pathlib import Path
from cl_core import artifact_dir

with artifact_dir.staging(Path(sys.argv[1])) as staged:
    (staged / "rows.bin").write_bytes(b"half of it")
    print("staged", flush=True)
    time.sleep(60)
    artifact_dir.publish(staged, Path(sys.argv[1]) / "final", {})
"""


def publish(parent, *, name="final", content=b"rows", **facts):
    with artifact_dir.staging(parent) as staged:
        (staged / "rows.bin").write_bytes(content)
        (staged / "inner").mkdir()
        (staged / "inner" / "more.bin").write_bytes(b"")
        artifact_dir.publish(staged, parent / name, facts)
    return parent / name


def start_staging(folder):
    process = subprocess.Popen([sys.executable, "-c", STAGE_AND_WAIT, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "staged\n"
    return process


def end(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


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


def test_the_manifest_holds_the_facts_and_a_checksum_of_every_file(tmp_path):
    manifest = json.loads((publish(tmp_path, rows=3) / "manifest.json").read_text())
    assert manifest == {
        "rows": 3,
        "files": {
            # sha256 of the empty text: FIPS 180-2; of b"rows": `printf rows | sha256sum`.
            "inner/more.bin": {
                "bytes": 0,
                "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            },
            "rows.bin": {
                "bytes": 4,
                "sha256": "bc51e9e65d79e1c90ba544ab2eae1044ccdf8c1af7a559ba375cba4276f7d99e",
            },
        },
    }
    assert artifact_dir.verify(tmp_path / "final") == manifest


def test_a_published_directory_is_alone_and_can_be_read_by_others(tmp_path):
    final = publish(tmp_path)
    assert list(tmp_path.iterdir()) == [final]
    assert final.stat().st_mode & 0o777 == 0o755
    assert (final / "rows.bin").read_bytes() == b"rows"


def test_a_final_place_elsewhere_is_made(tmp_path):
    with artifact_dir.staging(tmp_path / "work") as staged:
        artifact_dir.publish(staged, tmp_path / "deep" / "er" / "final", {})
    assert artifact_dir.verify(tmp_path / "deep" / "er" / "final") == {"files": {}}
    assert list((tmp_path / "work").iterdir()) == []


def test_what_was_not_published_is_removed_also_after_an_error(tmp_path):
    with artifact_dir.staging(tmp_path) as staged:
        (staged / "rows.bin").write_bytes(b"half")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError), artifact_dir.staging(tmp_path) as staged:
        (staged / "missing" / "rows.bin").write_bytes(b"half")
    assert list(tmp_path.iterdir()) == []


def test_a_process_killed_before_it_publishes_leaves_nothing_that_looks_finished_and_the_next_cleans_up(tmp_path):
    process = start_staging(tmp_path)
    end(process)
    [left] = tmp_path.iterdir()
    assert left.name.startswith(".staging-") and (left / "rows.bin").exists()
    assert not artifact_dir.is_intact(tmp_path / "final") and not artifact_dir.is_intact(left)
    assert publish(tmp_path) == tmp_path / "final"
    assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_what_a_living_process_is_writing_is_left_alone(tmp_path):
    process = start_staging(tmp_path)
    try:
        publish(tmp_path, name="other")
        assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == [".staging", "other"]
    finally:
        end(process)


def test_what_a_process_of_another_host_is_writing_is_left_alone(tmp_path):
    (tmp_path / ".staging-elsewhere-1-abc").mkdir()
    publish(tmp_path)
    assert (tmp_path / ".staging-elsewhere-1-abc").exists()


@pytest.mark.parametrize("place", [0, 2_000_000])
@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_is_detected_and_the_file_named(tmp_path, place, bit):
    final = publish(tmp_path, content=bytes(2_000_001))
    with (final / "rows.bin").open("r+b") as file:
        file.seek(place)
        file.write(bytes([1 << bit]))
    with pytest.raises(IntegrityError, match=rf"{final / 'rows.bin'} has changed since it was written.*delete {final}"):
        artifact_dir.verify(final)
    assert not artifact_dir.is_intact(final)


@pytest.mark.parametrize("change", ["cut", "longer"])
def test_a_file_of_another_length_is_detected(tmp_path, change):
    final = publish(tmp_path)
    os.truncate(final / "rows.bin", 3 if change == "cut" else 5)
    with pytest.raises(IntegrityError, match=r"rows\.bin has changed"):
        artifact_dir.verify(final)


@pytest.mark.parametrize("name", ["rows.bin", "inner/more.bin"])
def test_a_missing_file_is_detected_and_named(tmp_path, name):
    final = publish(tmp_path)
    (final / name).unlink()
    with pytest.raises(IntegrityError, match=rf"^{re.escape(str(final / name))} is missing; delete {final}"):
        artifact_dir.verify(final)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no readable manifest.json"),
        ("", "has no readable manifest.json"),
        ('{"files": {"rows.bin"', "has no readable manifest.json"),
        ("[]", "lists no files"),
        ('{"files": []}', "lists no files"),
        ('{"rows": 3}', "lists no files"),
        ('{"files": {"rows.bin": {"bytes": 4}}}', "rows.bin"),
        ('{"files": {"rows.bin": "e3b0"}}', "rows.bin"),
    ],
)
def test_a_damaged_manifest_is_detected(tmp_path, text, message):
    final = publish(tmp_path)
    (final / "manifest.json").unlink()
    if text is not None:
        (final / "manifest.json").write_text(text)
    with pytest.raises(IntegrityError, match=message):
        artifact_dir.verify(final)
    assert not artifact_dir.is_intact(final)


def test_no_flipped_bit_of_a_manifest_is_taken_for_anything_but_damage(tmp_path):
    final = publish(tmp_path)
    manifest = final / "manifest.json"
    text = manifest.read_bytes()
    detected = 0
    for place in range(len(text)):
        manifest.write_bytes(text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :])
        detected += not artifact_dir.is_intact(final)
    # What goes unnoticed is white space for white space, and the sizes, which nothing relies on.
    assert detected > 0.85 * len(text)


def test_what_is_not_there_is_not_sound(tmp_path):
    assert not artifact_dir.is_intact(tmp_path / "nothing")
    with pytest.raises(IntegrityError, match=rf"{tmp_path / 'nothing'} has no readable manifest.json"):
        artifact_dir.verify(tmp_path / "nothing")


def test_an_intact_directory_is_kept(tmp_path):
    final = publish(tmp_path, content=b"first")
    before = (final / "rows.bin").stat().st_ino
    publish(tmp_path, content=b"second")
    assert (final / "rows.bin").read_bytes() == b"first" and (final / "rows.bin").stat().st_ino == before
    assert list(tmp_path.iterdir()) == [final]


def test_a_damaged_directory_is_replaced(tmp_path):
    final = publish(tmp_path, content=b"first")
    (final / "rows.bin").write_bytes(b"fjrst")
    (final / "stray").write_bytes(b"")
    publish(tmp_path, content=b"second")
    assert artifact_dir.is_intact(final)
    assert (final / "rows.bin").read_bytes() == b"second" and not (final / "stray").exists()


def test_two_that_publish_at_once_leave_one_whole(tmp_path):
    with artifact_dir.staging(tmp_path) as first, artifact_dir.staging(tmp_path) as second:
        assert first != second
        (first / "rows.bin").write_bytes(b"first")
        (second / "rows.bin").write_bytes(b"second")
        artifact_dir.publish(second, tmp_path / "final", {})
        artifact_dir.publish(first, tmp_path / "final", {})
    assert artifact_dir.is_intact(tmp_path / "final")
    assert (tmp_path / "final" / "rows.bin").read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [tmp_path / "final"]


def test_a_full_disk_is_an_error_that_says_where_and_leaves_nothing(small_disk):
    with pytest.raises(StorageFullError, match=rf"no space left on the disk that holds {small_disk}.*CL_HOME"):
        publish(small_disk, content=bytes(2 << 20))
    assert list(small_disk.iterdir()) == []
    assert artifact_dir.is_intact(publish(small_disk))


def test_a_disk_that_is_full_when_the_manifest_is_written_leaves_nothing(small_disk):
    with artifact_dir.staging(small_disk) as staged:
        free = os.statvfs(small_disk)
        (staged / "rows.bin").write_bytes(bytes(free.f_bavail * free.f_bsize))
        with pytest.raises(StorageFullError, match="no partial files remain"):
            artifact_dir.publish(staged, small_disk / "final", {})
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_leaves_the_old_text(small_disk):
    path = small_disk / "state.json"
    artifact_dir.write_text(path, "old")
    with pytest.raises(StorageFullError, match=rf"no space left on the disk that holds {path}"):
        artifact_dir.write_text(path, "n" * (2 << 20))
    assert path.read_text() == "old" and list(small_disk.iterdir()) == [path]


def test_other_errors_of_the_system_keep_their_name(tmp_path):
    with pytest.raises(FileNotFoundError), artifact_dir.disk_full_as_error(tmp_path):
        (tmp_path / "nothing").read_text()


def test_a_reader_sees_the_old_text_or_the_new_whatever_moment_the_writer_is_killed_at(tmp_path):
    path = tmp_path / "state.json"
    artifact_dir.write_text(path, "0" * 500_000)
    code = (
        "import sys; from pathlib import Path; from cl_core import artifact_dir; print('begin', flush=True)\n"
        "for i in range(10**9): artifact_dir.write_text(Path(sys.argv[1]), str(i % 10) * 500_000)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begin\n"
    seen = set()
    while len(seen) < 4:
        text = path.read_text()
        assert len(text) == 500_000 and len(set(text)) == 1
        seen.add(text[0])
    end(process)
    text = path.read_text()
    assert len(text) == 500_000 and len(set(text)) == 1
    assert {Path(left.name).suffix for left in tmp_path.iterdir()} <= {".json", ".tmp"}
    left = [other for other in tmp_path.iterdir() if other != path]
    assert artifact_dir.orphaned(tmp_path) == left
    artifact_dir.write_text(path, "new")
    assert list(tmp_path.iterdir()) == [path], "what the killed writer left goes with the next write"


def test_what_killed_processes_left_is_found_wherever_it_is_and_what_living_ones_write_is_not(tmp_path):
    dead, alive = start_staging(tmp_path / "deep"), start_staging(tmp_path / "deep")
    end(dead)
    try:
        [left] = artifact_dir.orphaned(tmp_path)
        assert left.name.startswith(".staging-") and f"-{dead.pid}-" in left.name
    finally:
        end(alive)


def test_a_host_whose_name_ends_with_that_of_another_is_another(tmp_path, monkeypatch):
    """A machine `lab` beside `gpu.lab`, and files whose names have dots."""
    gone = "999999-1"
    theirs = [f".a.json.@gpu.lab-{gone}b01234567.tmp", f".b.json.gpu.lab-{gone}.tmp"]
    ours = [f".a.b.json.@lab-{gone}b01234567.tmp", f".b.json.lab-{gone}.tmp"]
    for name in ("b.json", *theirs, *ours):
        (tmp_path / name).touch()
    monkeypatch.setattr("socket.gethostname", lambda: "lab")
    assert sorted(path.name for path in artifact_dir.orphaned(tmp_path)) == sorted(ours)
    monkeypatch.setattr("socket.gethostname", lambda: "gpu.lab")
    assert sorted(path.name for path in artifact_dir.orphaned(tmp_path)) == sorted(theirs)


def test_writing_a_text_leaves_only_the_text(tmp_path):
    for text in ("old", "new"):
        artifact_dir.write_text(tmp_path / "state.json", text)
        assert (tmp_path / "state.json").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
