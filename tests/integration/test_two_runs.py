"""Two runs for the same training at once: one trains, the other says for whom it waits, and uses the result."""

import psutil
import pytest

from .retrainings import NAME, Retrainings, audited, ended, log, wait_for


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ("twin", "which runs the same training; this run will use its result"),
        pytest.param(NAME, "which retrains chaos", marks=pytest.mark.sweep),
    ],
)
def test_one_trains_and_the_other_waits_and_uses_it(retrainings: Retrainings, other: str, sentence: str) -> None:
    undisturbed, home = retrainings.undisturbed(), retrainings.home()
    first = retrainings.start(home, "pretrain.step-taken:20=stop", run="first")
    stopped = psutil.Process(first.pid)
    wait_for(lambda: stopped.status() == psutil.STATUS_STOPPED, home)
    second = retrainings.start(home, run="second", model_name=other)
    wait_for(lambda: sentence in log(home), home)
    stopped.resume()
    assert [ended(process) for process in (first, second)] == [0, 0], log(home)
    assert log(home).count("steps, from the start") == 1
    assert "is up to date (data, spec and code unchanged); skipped" in log(home)
    assert audited(home, undisturbed.weights).problems == []
    assert audited(home, undisturbed.weights, name=other).problems == []
