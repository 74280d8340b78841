"""A retraining killed at a named place, and put back to work, comes to what an undisturbed one comes to."""

import signal

import pytest
from chaos.cases import PLACES

from .retrainings import Retrainings, audited, log

# One place of each step that writes; the sweep visits all.
SAMPLE = (
    "artifact_dir.sealed",
    "pretrain.checkpoint-half-written:20",
    "evaluate.features-computed",
    "register.version-created",
    "promote.intent-written",
    "report.page-logged",
)


@pytest.mark.parametrize(
    "place", [pytest.param(place, marks=() if place in SAMPLE else pytest.mark.sweep) for place in PLACES]
)
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


@pytest.mark.parametrize(
    "place", [pytest.param("ingest.inputs-sorted", marks=pytest.mark.sweep), "artifact_dir.sealed:20"]
)
def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_space(retrainings: Retrainings, place: str) -> None:
    undisturbed, home = retrainings.undisturbed(), retrainings.home()
    assert retrainings.run(home, f"{place}=full") == 1
    assert "no space left on the disk that holds" in log(home)
    assert retrainings.run(home, f"{place}=full") == 0, log(home)
    assert audited(home, undisturbed.weights).problems == []


def test_a_connection_lost_between_two_calls_is_tried_again_by_the_same_process(retrainings: Retrainings) -> None:
    undisturbed, home = retrainings.undisturbed(), retrainings.home()
    assert retrainings.run(home, "register.curves-logged=error") == 0, log(home)
    assert "register  is tried again, at most 3 times in all: connection lost" in log(home)
    assert audited(home, undisturbed.weights).problems == []
