"""A process is identified by host, boot, number and start, so that a number used again is another process."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cl_core import processes


def test_a_running_process_is_there_and_an_ended_one_is_gone_already_before_its_parent_has_looked() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        made = processes.token(process.pid)
        assert made.split("-")[-2] == str(process.pid) == str(processes.pid_of(made))
        assert not processes.is_gone(made)
        assert not processes.is_gone(f"{made}-more")
        assert process.stdin is not None
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert processes.is_gone(made), "what is left is a zombie"
        # Longer than a test may take.
        processes.wait([psutil.Process(process.pid)], timeout_s=1000)
    assert processes.is_gone(made)


def test_another_process_of_the_same_number_is_not_taken_for_it() -> None:
    host, pid = socket.gethostname(), os.getpid()
    assert not processes.is_gone(processes.token())
    assert processes.is_gone(f"{host}-{pid}-1")
    assert not processes.is_gone(f"{host}-{pid}"), "not a token: no start"


def test_of_a_process_of_another_host_nothing_is_known() -> None:
    assert not processes.is_gone("elsewhere-1-1")
    assert processes.pid_of("elsewhere-1-1") == 0


def test_the_same_number_and_ticks_after_a_reboot_are_another_process() -> None:
    token = processes.token()
    old, boot = token[:-9], token[-8:]
    assert token == f"{old}b{boot}"
    assert processes.is_gone(f"{old}b{'0' * 8}")
    assert processes.is_gone(f"{old}b{'0' * 8}-more")
    assert not processes.is_gone(old), "a token of version 0.1.0, which does not name the boot"


@pytest.mark.parametrize("boot", ["b01234567", ""], ids=["now", "0.1.0"])
@pytest.mark.parametrize("behind", ["", "-2", "-2-41", ".example.com", "-a"])
def test_a_host_whose_name_begins_with_this_ones_is_another_host(monkeypatch, boot, behind):
    monkeypatch.setattr(socket, "gethostname", lambda: "node")
    token = f"node{behind}-2-41{boot}"
    assert processes.host_of(token) == f"node{behind}"
    assert processes.is_gone(token) is (behind == "")
    assert processes.pid_of(token) == (2 if behind == "" else 0)


@pytest.mark.parametrize("text", ["", "node", "node-", "node-0", "node--1-5", "node-x-5", "-1-5"])
def test_what_cannot_be_read_as_a_token_is_left_alone(monkeypatch, text):
    monkeypatch.setattr(socket, "gethostname", lambda: "node")
    assert not processes.is_gone(text)
    assert processes.pid_of(text) == 0


QUOTAS = {
    "cpu.max": {"100000 100000": 1, "150000 100000": 1, "50000 100000": 1, "max 100000": None},
    "cpu/cpu.cfs_quota_us": {"100000": 1, "199999": 1, "-1": None},
}
COUNT_UNDER_QUOTAS = f"""
import os
from pathlib import Path
from cl_core import processes
root = Path("/sys/fs/cgroup")
(root / "cpu").mkdir()
(root / "cpu/cpu.cfs_period_us").write_text("100000")
print(processes.cpu_count(), *processes.thread_limits().values() or ["-"])
for file, quotas in {QUOTAS}.items():
    for quota in quotas:
        (root / file).write_text(quota)
        print(processes.cpu_count(), *processes.thread_limits().values() or ["-"])
    (root / file).unlink()
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
print(processes.cpu_count(), *processes.thread_limits().values() or ["-"])
"""


def test_the_cpus_are_those_that_affinity_and_quota_allow_rounded_down_and_at_least_one() -> None:
    """In a mount namespace, where the files of the container's control group are the test's own."""
    own_files = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"']
    if shutil.which("unshare") is None or subprocess.run([*own_files, "-", "true"], check=False).returncode:
        pytest.skip("a quota of the test's own needs mount namespaces")
    root = str(Path(__file__).parents[1])
    counted = subprocess.run(
        [*own_files, "-", sys.executable, "-c", COUNT_UNDER_QUOTAS],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    cpus, limits = zip(*(line.split() for line in counted.stdout.splitlines()), strict=True)
    unlimited, *under_quotas, pinned = map(int, cpus)
    assert unlimited == len(os.sched_getaffinity(0))
    allowed = [number for quotas in QUOTAS.values() for number in quotas.values()]
    assert under_quotas == [number or unlimited for number in allowed]
    assert pinned == 1
    # Libraries see what affinity allows by themselves, and no quota.
    assert limits == ("-", *(str(number or "-") for number in allowed), "-")


def test_only_one_function_asks_how_many_cpus_there_are() -> None:
    root = Path(__file__).parents[1]
    asking = re.compile(r"(?<!processes)\.cpu_count\(|sched_getaffinity|cpu_affinity|import cpu_count")
    asked = [
        path.relative_to(root).as_posix()
        for top in ("cl_core", "tasks", "flows", "tests")
        for path in sorted((root / top).rglob("*.py"))
        if path != Path(__file__) and asking.search(path.read_text())
    ]
    # The spec's default asks that function by its name.
    assert asked == ["cl_core/processes.py", "cl_core/specs/compute.py"]
