"""`cl chaos`: deployed runs that are killed, put back to work by Prefect's automations, and audited."""

import os
import re
import subprocess
from pathlib import Path

import psutil
import pytest
from chaos.cases import PLACES

from cl_core.failpoints import POINTS

from .conftest import CL

# From every step: each takes 40 seconds of a core here, and tests/faults sweeps all of them.
THIRTY = [PLACES[number * len(PLACES) // 30] for number in range(30)]


def chaos(home: Path, *arguments: str, timeout: int) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "CL_HOME": str(home), "COLUMNS": "200", "TMPDIR": str(home.parent)}
    return subprocess.run(
        [str(CL), "chaos", *arguments], env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("places", "kills"),
    [pytest.param(THIRTY, 2, id="thirty"), pytest.param(list(PLACES), 20, id="all", marks=pytest.mark.whole)],
)
@pytest.mark.timeout(7200)
def test_runs_that_are_killed_are_put_back_to_work_by_prefect_and_come_to_the_same(
    tmp_path: Path, places: list[str], kills: int
) -> None:
    home = tmp_path / "home"
    finished = chaos(home, "--points", ",".join(places), "--kills", str(kills), timeout=7200)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "Warning" not in finished.stderr
    rows = re.findall(r"^│ (\S+|after \S+ s) +│ +(\d+) │ +(\d+) │ +(\d+) │ (.+?) +│$", finished.stdout, re.MULTILINE)
    assert rows[0][:2] == ("undisturbed", "1")
    assert {row[0] for row in rows[1:]} >= set(places) and len(rows) == 1 + len(places) + kills
    for name, attempts, _, repeated, verdict in rows[1:]:
        assert (int(attempts) == 2, int(repeated) <= 1, verdict) == (True, True, "as undisturbed"), name
    assert f"{len(rows)} of {len(rows)} runs came to exactly" in finished.stdout
    assert not home.exists(), "the user's own is not touched"
    assert not list(tmp_path.glob("cl-*")), "the temporary one is gone"
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
    assert "there is no failpoint 'register.nowhere'; `cl chaos --list` shows them" in finished.stderr


def environ_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.environ().values())
    except psutil.Error:
        return []
