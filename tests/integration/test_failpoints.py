"""A retraining killed at a named place, and put back to work, comes to what an undisturbed one comes to."""

import os
import signal
import subprocess
import sys
import timeit
from pathlib import Path

import pytest

from cl_core import failpoints
from cl_core.errors import InputError
from flows.chaos import PLACES

from .retrainings import Retrainings, audited, log

pytestmark = pytest.mark.xdist_group("retrainings")

ROOT = Path(failpoints.__file__).parents[1]


@pytest.mark.sweep
@pytest.mark.parametrize("place", PLACES)
def test_killed_at_any_place_and_run_again_it_is_as_if_nothing_had_happened(
    retrainings: Retrainings, place: str
) -> None:
    undisturbed, home = retrainings.undisturbed(), retrainings.home()
    assert retrainings.run(home, f"{place}=kill") == -signal.SIGKILL, log(home)
    assert retrainings.run(home, f"{place}=kill") == 0, log(home)
    found = audited(home, undisturbed.weights)
    assert found.problems == []
    assert found.repeated_steps <= 1
    assert "is promoted" in log(home) or "is the champion already" in log(home)


# A place of each step that writes, in the order in which they are come by.
ONE_OF_EACH_STEP = (
    "ingest.snapshot-sealed",
    "pretrain.checkpoint-half-written:20",
    "evaluate.assessment-sealed:3",
    "register.version-created",
    "promote.intention-written",
    "report.page-logged",
)


def test_killed_in_each_step_once_a_run_ends_as_if_nothing_had_happened(retrainings: Retrainings) -> None:
    undisturbed, home = retrainings.undisturbed(), retrainings.home()
    for place in ONE_OF_EACH_STEP:
        assert retrainings.run(home, f"{place}=kill") == -signal.SIGKILL, f"{place}: {log(home)}"
    assert retrainings.run(home) == 0, log(home)
    found = audited(home, undisturbed.weights)
    assert found.problems == []
    assert found.repeated_steps <= 1
    assert "is promoted" in log(home) or "is the champion already" in log(home)


@pytest.mark.sweep
def test_a_full_disk_while_data_come_in_is_named_and_the_run_goes_on_once_there_is_space(
    retrainings: Retrainings,
) -> None:
    undisturbed, home = retrainings.undisturbed(), retrainings.home()
    assert retrainings.run(home, "ingest.inputs-sorted=full") == 1
    assert "no space left on the disk that holds" in log(home)
    assert retrainings.run(home, "ingest.inputs-sorted=full") == 0, log(home)
    assert audited(home, undisturbed.weights).problems == []


def test_a_full_disk_is_named_the_run_goes_on_and_a_lost_connection_is_tried_again_by_the_same_process(
    retrainings: Retrainings,
) -> None:
    undisturbed, home = retrainings.undisturbed(), retrainings.home()
    assert retrainings.run(home, "pretrain.checkpoint-sealed:20=full") == 1
    assert "no space left on the disk that holds" in log(home)
    # There is space again; between two calls of MLflow the connection is lost.
    assert retrainings.run(home, "register.curves-logged=error") == 0, log(home)
    assert "register  is tried again, at most 3 times in all: connection lost" in log(home)
    assert audited(home, undisturbed.weights).problems == []


def test_every_place_is_reached_by_one_line_of_code() -> None:
    names = "\n".join(
        file.read_text()
        for folder in ("cl_core", "tasks")
        for file in (ROOT / folder).rglob("*.py")
        if file.name != "failpoints.py"
    )
    for name in failpoints.POINTS:
        moment = name.partition(".")[2]
        beginnings = [
            name,
            *(name.removesuffix(end) for end in ("staged", "sealed", "renamed") if moment.endswith(end)),
        ]
        assert sum(names.count(f'"{beginning}"') for beginning in beginnings) == 1, name
    assert len(failpoints.POINTS) >= 40


def in_a_process(program: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **settings}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)


REACH = "from cl_core.failpoints import reach\nfor _ in range(3): reach('plan.made'); print('passed', flush=True)"


def test_a_place_acts_once_whichever_process_comes_first(tmp_path: Path) -> None:
    settings = {"CL_FAILPOINTS": "plan.made:2=kill", "CL_HOME": str(tmp_path)}
    first, second = in_a_process(REACH, **settings), in_a_process(REACH, **settings)
    assert (first.returncode, first.stdout) == (-signal.SIGKILL, "passed\n")
    assert (second.returncode, second.stdout) == (0, 3 * "passed\n")


@pytest.mark.parametrize("order", ["plan.made", "plan.made=explode", "plan.maid=kill", "plan.made:x=kill"])
def test_an_order_that_cannot_be_is_refused_with_the_actions_there_are(
    monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setenv("CL_FAILPOINTS", order)
    with pytest.raises(InputError, match=r"wanted NAME=ACTION.*kill, stop, full, error.*cl chaos --list"):
        failpoints.reach("plan.made")


def test_a_place_that_is_not_in_the_table_cannot_be_reached() -> None:
    with pytest.raises(AssertionError, match="nowhere"):
        failpoints.reach("nowhere")


def test_a_place_costs_less_than_ten_microseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CL_FAILPOINTS", raising=False)
    # The best of many tries: the others tell what else the machine had to do.
    tries = timeit.repeat(lambda: failpoints.reach("pretrain.step-taken"), number=1_000, repeat=50)
    assert min(tries) / 1_000 < 1e-5
