"""What a step costs: CPU time of the process and of those that it starts, and of no others."""

import subprocess
import sys
import threading
import time

import psutil
import pytest

from tasks.runtime.metering import Meter

# Burns so many seconds of CPU time, whatever else the machine does.
BURN = "import sys, time\nwhile time.process_time() < float(sys.argv[1]): pass\n"


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_a_process_that_starts_at_once_is_counted_while_it_runs() -> None:
    meter = Meter()
    with subprocess.Popen([sys.executable, "-c", BURN, "600"]) as started:
        while sum(psutil.Process(started.pid).cpu_times()[:2]) < 0.3:
            threading.Event().wait(0.01)
        used = meter.usage()["cpu_seconds"]
        started.kill()
    assert used >= 0.3


def test_the_process_and_what_it_starts_and_waits_for_are_counted() -> None:
    meter = Meter()
    burn(0.2)
    subprocess.run([sys.executable, "-c", BURN, "0.3"], check=True)
    assert 0.45 < meter.usage()["cpu_seconds"] < 0.9


@pytest.mark.integration
def test_a_process_that_ends_unnoticed_counts_as_it_was_last_seen() -> None:
    meter = Meter()
    # Its parent dies without waiting for it, as workers' parents do.
    child = f"[sys.executable, '-c', {BURN + 'time.sleep(60)'!r}, '1.0']"
    middle = f"import subprocess, sys; subprocess.Popen({child}); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", middle], stdin=subprocess.PIPE) as parent:
        deadline = time.monotonic() + 60
        while not (children := psutil.Process(parent.pid).children()) or sum(children[0].cpu_times()[:2]) < 0.7:
            assert time.monotonic() < deadline
        meter.usage()
        parent.kill()
    orphan = children[0]
    orphan.kill()
    psutil.wait_procs([orphan], timeout=10)
    # The system corrects its counts by some hundredths of a second from look to look.
    assert meter.usage()["cpu_seconds"] > 0.6


@pytest.mark.integration
def test_a_server_that_ran_before_the_step_is_not_counted() -> None:
    with subprocess.Popen([sys.executable, "-c", BURN, "600"]) as server:
        meter = Meter()
        before = psutil.Process(server.pid).cpu_times().user
        while psutil.Process(server.pid).cpu_times().user < before + 0.5:
            threading.Event().wait(0.01)
        used = meter.usage()["cpu_seconds"]
        server.kill()
    assert used < 0.4


def test_gpu_seconds_are_the_time_that_they_are_held_times_their_number() -> None:
    meter = Meter()
    burn(0.05)
    meter.hold_gpus(4)
    burn(0.1)
    used = meter.usage()
    assert 0.4 <= used["gpu_seconds"] < 4 * used["seconds"] - 0.19


def test_signs_of_life_come_while_the_step_runs() -> None:
    meter, seen = Meter(), threading.Event()
    signs: list[dict[str, float]] = []

    def on_sign(**usage: float) -> None:
        signs.append(usage)
        seen.set()

    with meter.watching(on_sign):
        assert seen.wait(30)
    assert 1 <= signs[0]["seconds"] < 30
