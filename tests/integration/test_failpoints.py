"""A retraining killed at a failpoint and run again ends with the results of an uninterrupted one."""

import signal

import pytest
from chaos.cases import PLACES

from .retrainings import Retrainings, audited, log


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
    "artifact_dir.sealed",
    "pretrain.checkpoint-half-written:20",
    "evaluate.features-computed",
    "register.version-created",
    "promote.intent-written",
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
    assert retrainings.run(home, "artifact_dir.sealed:20=full") == 1
    assert "no space left on the disk that holds" in log(home)
    # There is space again; between two calls of MLflow the connection is lost.
    assert retrainings.run(home, "register.curves-logged=error") == 0, log(home)
    assert "register  retrying (1 of 3): connection lost" in log(home)
    assert audited(home, undisturbed.weights).problems == []
