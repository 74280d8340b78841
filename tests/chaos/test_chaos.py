"""`make chaos`: deployed runs that are killed and rescheduled by Prefect's automations end with the same result."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from chaos.cases import PLACES
from chaos.failpoints import POINTS

TESTS = Path(__file__).parents[1]

# From every step: each takes 40 seconds of a core here, and tests/integration/test_failpoints.py sweeps all of them.
THIRTY = [PLACES[number * len(PLACES) // 30] for number in range(30)]


def chaos(home: Path, *arguments: str, timeout: int) -> "subprocess.CompletedProcess[str]":
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = {
        **os.environ,
        "CL_HOME": str(home),
        "COLUMNS": "200",
        "TMPDIR": str(home.parent),
        "PYTHONPATH": paths,
    }
    return subprocess.run(
        [sys.executable, "-m", "chaos", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("places", "kills"),
    [pytest.param(THIRTY, 2, id="thirty"), pytest.param(list(PLACES), 20, id="all", marks=pytest.mark.whole)],
)
@pytest.mark.timeout(7200)
def test_runs_that_are_killed_are_rescheduled_by_prefect_and_end_with_the_same_result(
    tmp_path: Path, places: list[str], kills: int
) -> None:
    home = tmp_path / "home"
    finished = chaos(home, "--points", ",".join(places), "--kills", str(kills), timeout=7200)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "Warning" not in finished.stderr
    rows = re.findall(r"^│ (\S+|after \S+ s) +│ +(\d+) │ +(\d+) │ +(\d+) │ (.+?) +│$", finished.stdout, re.MULTILINE)
    assert rows[0][:2] == ("uninterrupted", "1")
    assert {row[0] for row in rows[1:]} >= set(places) and len(rows) == 1 + len(places) + kills
    for name, attempts, _, repeated, verdict in rows[1:]:
        assert (int(attempts) == 2, int(repeated) <= 1, verdict) == (True, True, "same result"), name
    assert f"{len(rows)} of {len(rows)} runs ended with the same result" in finished.stdout
    assert not home.exists(), "the user's own is not touched"
    assert not list(tmp_path.glob("cl-chaos-*")), "the temporary one is gone"
    assert not [
        process for process in psutil.process_iter() if str(tmp_path / "cl-chaos") in " ".join(environ_of(process))
    ]


def test_the_list_names_every_failpoint_with_what_is_true_there(tmp_path: Path) -> None:
    finished = chaos(tmp_path / "home", "--list", timeout=60)
    assert finished.returncode == 0
    assert dict(line.split(maxsplit=1) for line in finished.stdout.splitlines()) == POINTS


def test_an_unknown_failpoint_is_refused_at_once(tmp_path: Path) -> None:
    finished = chaos(tmp_path / "home", "--points", "register.nowhere", timeout=60)
    assert finished.returncode == 2
    assert "there is no failpoint 'register.nowhere'; --list shows them" in finished.stderr


def environ_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.environ().values())
    except psutil.Error:
        return []
