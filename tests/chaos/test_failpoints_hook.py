"""Failpoints: nothing in production, and exactly what the environment asks for in processes that tests start."""

import os
import signal
import subprocess
import sys
import timeit
from pathlib import Path

import pytest

import cl_core
from chaos import failpoints
from chaos.__main__ import SITE
from cl_core.errors import InputError
from cl_core.failpoints import failpoint

ROOT = Path(cl_core.__file__).parents[1]


def test_every_failpoint_is_one_line_of_the_product():
    product = "\n".join(file.read_text() for folder in ("cl_core", "tasks") for file in (ROOT / folder).rglob("*.py"))
    offenders = {name: product.count(f'failpoint("{name}")') for name in failpoints.POINTS}
    assert {name: count for name, count in offenders.items() if count != 1} == {}
    assert product.count('failpoint("') == len(failpoints.POINTS) >= 40


def in_a_process(program: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **settings}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)


REACH = (
    "from cl_core.failpoints import failpoint\nfor _ in range(3): failpoint('plan.made'); print('passed', flush=True)"
)


def test_a_place_acts_once_whichever_process_comes_first(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(SITE), str(ROOT)])
    settings = {"CL_FAILPOINTS": "plan.made:2=kill", "CL_HOME": str(tmp_path), "PYTHONPATH": paths}
    first, second = in_a_process(REACH, **settings), in_a_process(REACH, **settings)
    assert (first.returncode, first.stdout) == (-signal.SIGKILL, "passed\n"), first.stderr
    assert (second.returncode, second.stdout) == (0, 3 * "passed\n"), second.stderr


def test_beside_the_hook_the_projects_modules_are_its_own_wherever_a_run_begins(tmp_path: Path) -> None:
    settings = {"CL_FAILPOINTS": "plan.made=kill", "CL_HOME": str(tmp_path), "PYTHONPATH": str(SITE)}
    done = in_a_process(f"import os; os.chdir({str(tmp_path)!r}); import tasks; print(tasks.__file__)", **settings)
    assert done.stdout.strip() == str(ROOT / "tasks" / "__init__.py"), done.stderr


def test_the_product_by_itself_obeys_no_failpoint(tmp_path: Path) -> None:
    settings = {"CL_FAILPOINTS": "plan.made=kill", "CL_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    assert in_a_process(REACH, **settings).stdout == 3 * "passed\n"


def test_an_order_that_cannot_be_is_refused_with_the_actions_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for order in ("plan.made", "plan.made=explode", "plan.maid=kill", "plan.made:x=kill"):
        monkeypatch.setenv("CL_FAILPOINTS", order)
        with pytest.raises(InputError, match=r"wanted NAME=ACTION.*kill, stop, full, error.*ARGS=--list"):
            failpoints.obey("plan.made")


def test_a_place_that_is_not_in_the_table_cannot_be_reached() -> None:
    with pytest.raises(AssertionError, match="nowhere"):
        failpoints.obey("nowhere")


def test_a_place_costs_less_than_a_microsecond_in_production() -> None:
    assert min(timeit.repeat(lambda: failpoint("pretrain.step-taken"), number=10_000, repeat=5)) / 10_000 < 1e-6
