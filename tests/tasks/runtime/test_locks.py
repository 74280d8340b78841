"""Who holds a lock is answered without taking it."""

import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from cl_core import processes
from tasks.runtime.locks import OWNER, LockOwner, is_locked, lock_owner, recorded_owner

HOLD = """
import sys
from pathlib import Path
from filelock import FileLock
from tasks.runtime.locks import recorded_owner
lock = Path(sys.argv[1])
with FileLock(lock), recorded_owner(lock, "flow run 'quick-fox'"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_held_while_its_owner_lives_and_free_once_it_was_killed(tmp_path: Path) -> None:
    lock = tmp_path / "model.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        assert is_locked(lock)
        owner = lock_owner(lock)
        assert owner is not None
        assert (owner.name, processes.pid_of(owner.process)) == ("flow run 'quick-fox'", process.pid)
        process.kill()
    assert lock.with_suffix(OWNER).exists() and not is_locked(lock)


def test_asking_never_takes_the_lock(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "up.lock")
    with lock:
        pass
    with FileLock(tmp_path / "up.lock"):
        inode = (tmp_path / "up.lock").stat().st_ino
        assert is_locked(tmp_path / "up.lock")
    assert not is_locked(tmp_path / "up.lock")
    assert not is_locked(tmp_path / "none.lock")
    locks = Path("/proc/locks").read_text()
    assert f":{inode} " not in locks, "whoever asked would hold it now"


def test_a_lock_whose_owner_left_no_record_is_held_as_the_kernel_lists_it(tmp_path: Path) -> None:
    """A process of version 0.1.0 wrote no record of its process."""
    lock = tmp_path / "turn.lock"
    with FileLock(lock):
        lock.with_suffix(OWNER).write_text("flow run 'quick-fox'")
        assert lock_owner(lock) is None
        assert is_locked(lock)
    assert not is_locked(lock)


def test_a_lock_of_another_host_is_held_as_the_file_system_says(tmp_path: Path) -> None:
    """A container that was replaced over a kept folder leaves its record; one that runs holds the lock."""
    lock = tmp_path / "up.lock"
    lock.touch()
    lock.with_suffix(OWNER).write_text(LockOwner(process="oldcontainer-7-123b01234567").model_dump_json())
    assert not is_locked(lock)
    with FileLock(lock):
        lock.with_suffix(OWNER).write_text(LockOwner(process="oldcontainer-7-123b01234567").model_dump_json())
        assert is_locked(lock)


def test_the_record_goes_with_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "model.lock"
    with recorded_owner(lock, "this test"):
        assert lock_owner(lock) == LockOwner(name="this test", process=processes.token())
    assert not lock.with_suffix(OWNER).exists()
